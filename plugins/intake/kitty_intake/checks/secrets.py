"""Secrets that look real: well-known shapes, and assignments to telling names, where the value looks like chance.

Written here because the best-known library brings an HTTP client along and takes more than a minute for a plan of the largest size.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections import Counter
from collections.abc import Iterator

# A text that must be there, the shape, its name, and the bits of chance each character must carry at least.
_SHAPES = tuple(
    (must, re.compile(rf"(?<![A-Za-z0-9_-]){pattern}(?![A-Za-z0-9_-])"), name, bits)
    for must, pattern, name, bits in (
        ("A", r"(?:AKIA|ASIA)(?P<chance>[A-Z2-7]{16})", "a key of AWS", 2.5),
        ("gh", r"gh[oprsu]_(?P<chance>[A-Za-z0-9]{36})", "a token of GitHub", 3.0),
        ("github_pat_", r"github_pat_(?P<chance>[A-Za-z0-9]{22}_[A-Za-z0-9]{59})", "a token of GitHub", 3.0),
        ("glpat-", r"glpat-(?P<chance>[A-Za-z0-9_-]{20,64})", "a token of GitLab", 3.0),
        ("xox", r"xox[abprs]-(?P<chance>[A-Za-z0-9-]{20,200})", "a token of Slack", 2.5),
        ("_live_", r"[rs]k_live_(?P<chance>[A-Za-z0-9]{20,128})", "a key of Stripe", 3.0),
        ("AIza", r"AIza(?P<chance>[A-Za-z0-9_-]{35})", "a key of Google", 3.0),
        ("sk-ant-", r"sk-ant-(?P<chance>[A-Za-z0-9_-]{30,200})", "a key of Anthropic", 3.0),
        ("sk-", r"sk-(?:proj-|svcacct-)?(?P<chance>[A-Za-z0-9_-]{40,200})", "a key of OpenAI", 3.5),
        ("npm_", r"npm_(?P<chance>[A-Za-z0-9]{36})", "a token of npm", 3.0),
        ("pypi-", r"pypi-AgEIcHlwaS5vcmc(?P<chance>[A-Za-z0-9_-]{50,300})", "a token of PyPI", 3.0),
        ("SG.", r"SG\.(?P<chance>[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43})", "a key of SendGrid", 3.0),
        ("AccountKey=", r"AccountKey=(?P<chance>[A-Za-z0-9+/]{86}==)", "a key of Azure", 3.5),
    )
)
_PRIVATE_KEY = re.compile(r"-----BEGIN (?:[A-Z]{2,10} ){0,2}PRIVATE KEY-----(?:\s|\\[rn]){1,4}[A-Za-z0-9+/=]{20}")
_JWT = re.compile(
    r"(?<![\w-])(?P<head>eyJ[A-Za-z0-9_-]{10,500})\.eyJ[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{20,1000}(?![\w-])"
)
_IN_URL = re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@]{1,60}:(?P<chance>[^\s:/@]{8,100})@[\w.-]")
_ASSIGNED = re.compile(
    r"(?<![A-Za-z])(?:api[_-]?key|access[_-]?key|secret(?:[_-]?key)?|token|passw(?:or)?d|passphrase)\\?[\"']?[ \t]{0,5}[:=][ \t]{0,5}"
    r"\\?[\"']?(?P<chance>[A-Za-z0-9+/_=.-]{16,200})",
    re.IGNORECASE,
)
_MADE_UP = re.compile(r"example|changeme|placeholder|dummy|redacted|your[_-]|x{4}|\.{3}|1234|abcd", re.IGNORECASE)


def find(text: str) -> Iterator[tuple[int, str]]:
    """Where something looks like a secret; the secret itself is not told."""
    found = [
        (one.start(), name)
        for must, shape, name, bits in _SHAPES
        if must in text
        for one in shape.finditer(text)
        if _is_chance(one["chance"], bits)
    ]
    found += [(one.start(), "a private key") for one in _PRIVATE_KEY.finditer(text)]
    found += [(one.start(), "a signed token (JWT)") for one in _JWT.finditer(text) if _is_header(one["head"])]
    found += [(one.start(), "a password in a URL") for one in _IN_URL.finditer(text) if _is_chance(one["chance"], 2.5)]
    found += [(one.start(), "a password or a token") for one in _ASSIGNED.finditer(text) if _is_mixed(one["chance"])]
    return ((at, f"looks like {what}") for at, what in sorted(found))


def _is_chance(value: str, bits: float) -> bool:
    """Whether the characters of a value are spread as chance spreads them: Shannon's entropy, in bits a character."""
    if _MADE_UP.search(value):
        return False
    counts = Counter(value).values()
    return sum(-count / len(value) * math.log2(count / len(value)) for count in counts) >= bits


def _is_mixed(value: str) -> bool:
    """Whether a value without a known shape is one that nobody would type."""
    if re.fullmatch(r"(?:[0-9a-f]{32,}|[0-9A-F]{32,})", value):
        return _is_chance(value, 3.0)
    return all(re.search(kind, value) for kind in ("[a-z]", "[A-Z]", "[0-9]")) and _is_chance(value, 3.5)


def _is_header(part: str) -> bool:
    try:
        return "alg" in json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, binascii.Error, TypeError, RecursionError):
        return False
