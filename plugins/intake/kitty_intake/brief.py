"""The stored brief: `.kittify/mission-brief.md` and its sidecar `.kittify/brief-source.yaml`, which are one unit.

Two files cannot be renamed at once, so the sidecar carries both generations while the brief changes hands:

1. the sidecar is replaced by one that holds the new record and, under `previous`, the old one;
2. the brief is replaced: this rename is the commit;
3. the sidecar is replaced by the new record alone.

A record contains a hash over itself and the brief file that it belongs to, and a reader takes the record that matches
the file it has read. So a kill between any two steps leaves the old pair or the new one, complete, and nothing to
recover. A sidecar without a brief is no brief; spec-kitty, which renames the sidecar first too, sees it the same way.
Readers take no lock: one that read the brief before another intake and the sidecar after it sees no match, and looks
again. A pair that does not match, and is the same at the second look, was tampered with.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import evolve

from kitty_host.api import KittyError
from kitty_host.config import parse_yaml
from kitty_host.files import TEMPORARY_PREFIX, atomic_write, lock
from kitty_host.inert import UNTRUSTED, fenced, inert
from kitty_host.ledger.event import now
from kitty_host.records import Brief, Source
from kitty_host.repo import Repo
from kitty_intake.source import read_contained, readable, require_root, settings, too_large
from kitty_intake.text import plain_text

BRIEF = ".kittify/mission-brief.md"
SIDECAR = ".kittify/brief-source.yaml"
_IGNORED = (BRIEF, SIDECAR, f".kittify/{TEMPORARY_PREFIX}*")
_HEAD_ROOM = 1 << 16
_SEAL = "pair_sha256"
_AGAIN = "take the plan in again: kitty intake SOURCE --force"


def require_room(repo: Repo, *, force: bool) -> None:
    """Errors: `INTAKE_BRIEF_EXISTS`, unless `force`."""
    if not force and os.path.lexists(repo.root / BRIEF):
        hint = "look at it with: kitty brief; replace it with: kitty intake SOURCE --force"
        raise KittyError("INTAKE_BRIEF_EXISTS", f"there is a brief already: {BRIEF}", hint)


def store(repo: Repo, root: Path, source: Source, brief: Brief, *, force: bool = False) -> None:
    """Write the pair.

    Errors, with nothing written: `INTAKE_BRIEF_EXISTS`, `INTAKE_ROOT_INCONSISTENT`, `INTAKE_CROSS_FS`; where a plugin
    made something else of the source, `INTAKE_TOO_LARGE` and `INTAKE_FILE_UNDECODABLE`.
    """
    body = brief.text.encode()
    _require_writable(repo, root, source, body)
    with lock(repo.state / "intake.lock", wait_seconds=30, purpose="the brief"):
        require_room(repo, force=force)
        _ignore(repo)
        moment = now()
        content = envelope(source.name, moment, body)
        record = _exact(
            {
                **brief.extra,
                "source_file": source.name,
                "ingested_at": moment,
                "brief_hash": _sha256(body),
                "source_sha256": _sha256(source.content),
                "size_bytes": len(source.content),
                "intake_root": str(root),
                "read_at": moment,
            }
        )
        record[_SEAL] = _seal(record, content)
        previous = _previous(repo)
        atomic_write(repo.root / SIDECAR, _yaml({**record, "previous": previous} if previous else record))
        atomic_write(repo.root / BRIEF, content)
        if previous:
            atomic_write(repo.root / SIDECAR, _yaml(record))


def load(repo: Repo) -> Brief | None:
    """The stored brief, with its hashes checked; None where there is none. `extra` is the sidecar.

    Errors: `INTAKE_BRIEF_TAMPERED`, `INTAKE_FILE_UNREADABLE`, `INTAKE_TOO_LARGE`.
    """
    found = _stored(repo)
    if found is None:
        return None
    record, body = found
    name = record.get("source_file", "")
    plan = plain_text(Source(os.fsdecode(name) if isinstance(name, bytes) else str(name), body))
    size, sha256 = record.get("size_bytes", plan.size_bytes), record.get("source_sha256", plan.sha256)
    return evolve(plan, size_bytes=size, sha256=sha256, extra=record)


def envelope(name: str, moment: str, body: bytes) -> bytes:
    """A brief file: the two comments that spec-kitty writes, and the body in a fence that it cannot close."""
    head = (
        f"<!-- spec-kitty intake: ingested from {inert(name)} at {inert(moment, prose=True)} -->\n"
        f"<!-- brief_hash: {_sha256(body)} -->\n\n{UNTRUSTED}\n\n"
    )
    return head.encode() + fenced(body)


def _text(content: bytes, *, sealed: bool) -> bytes:
    """What a brief file says was taken in."""
    if not sealed:
        # As spec-kitty writes it: the text follows the comments and an empty line.
        return content.split(b"\n", 3)[-1]
    fence, _, rest = content.split(b"\n\n", 2)[-1].partition(b"text\n")
    return rest[: -len(fence) - 2]


def _body(content: bytes, record: Mapping[str, Any]) -> bytes | None:
    """The body of a brief file, if it is the file that a record speaks of."""
    if _SEAL in record and record[_SEAL] != _seal(record, content):
        return None
    body = _text(content, sealed=_SEAL in record)
    return body if _sha256(body) == record.get("brief_hash") else None


def _stored(repo: Repo) -> tuple[dict[str, Any], bytes] | None:
    """The record that matches the brief, and the brief's body."""
    seen = None
    while (content := _read(repo, BRIEF)) is not None:
        sidecar = _read(repo, SIDECAR)
        first = record = _parsed(repo, sidecar)
        while isinstance(record, dict):
            previous = record.pop("previous", None)
            body = _body(content, record)
            if body is not None:
                return record, body
            record = previous
        if (content, sidecar) == seen:
            raise _tampered(content, first if isinstance(first, dict) else {})
        seen = (content, sidecar)
    return None


def _parsed(repo: Repo, sidecar: bytes | None) -> Any:
    try:
        return parse_yaml(sidecar or b"", repo.root / SIDECAR, code="INTAKE_BRIEF_TAMPERED")
    except KittyError as error:
        message = f"nothing tells what was taken in: {error.message}"
        raise KittyError("INTAKE_BRIEF_TAMPERED", message, _AGAIN, cause=error.message) from error


def _tampered(content: bytes, record: Mapping[str, Any]) -> KittyError:
    """`INTAKE_BRIEF_TAMPERED`, with the two hashes that differ: of the text, else of the pair."""
    sealed = _SEAL in record
    hashes = {"text": (_sha256(_text(content, sealed=sealed)), record.get("brief_hash"))}
    if sealed:
        hashes["pair"] = (_seal(record, content), record[_SEAL])
    what = next(one for one in reversed(hashes) if one == "text" or hashes["text"][0] == hashes["text"][1])
    found, kept = hashes[what][0], str(hashes[what][1] or "none")
    message = (
        f"{BRIEF} is not what {SIDECAR} says was taken in: the SHA-256 of the {what} is {found}, and was {inert(kept)}"
    )
    return KittyError("INTAKE_BRIEF_TAMPERED", message, _AGAIN, hash_of=what, found=found, expected=kept)


def _previous(repo: Repo) -> dict[str, Any] | None:
    """The record of the pair that is about to be replaced; None where nothing readable is lost."""
    try:
        found = _stored(repo)
    except KittyError:
        return None
    return found[0] if found else None


def _read(repo: Repo, name: str) -> bytes | None:
    # A fence is at most half as long as the body, and there are two.
    limit = 2 * settings(repo).max_brief_bytes + _HEAD_ROOM
    place = repo.root / name
    with readable(name):
        try:
            return read_contained(place.parent, Path(place.name), limit, name)
        except FileNotFoundError:
            return None


def _require_writable(repo: Repo, root: Path, source: Source, body: bytes) -> None:
    require_root(repo, root)
    plain_text(Source(source.name, body))
    limits = settings(repo)
    if len(body) > limits.max_brief_bytes:
        raise too_large(source.name, limits.max_brief_bytes)
    if not limits.allow_cross_fs and (repo.root / BRIEF).parent.stat().st_dev != repo.root.stat().st_dev:
        hint = "move it back, or set intake.allow_cross_fs to true in .kittify/config.yaml"
        raise KittyError("INTAKE_CROSS_FS", ".kittify is on another file system than the checkout", hint)


def _ignore(repo: Repo) -> None:
    """Have Git ignore the pair also where `.gitignore` does not list it."""
    done = repo.git.run("check-ignore", "--no-index", *_IGNORED, ok=(0, 1, 128))
    ignored = done.stdout.decode().splitlines()
    missing = [f"/{one}" for one in _IGNORED if one not in ignored]
    # 128: `.kittify` is a link, and Git does not look behind it.
    if missing and done.returncode != 128:
        # Half of a rule would be another rule. Where the file is a link it stays one.
        exclude = Path(os.path.realpath(repo.common / "info" / "exclude"))
        known = exclude.read_bytes() if exclude.exists() else b""
        atomic_write(exclude, known + "\n".join(["", *missing, ""]).encode())


def _yaml(record: Mapping[str, Any]) -> bytes:
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width = 1 << 20
    stream = io.BytesIO()
    yaml.dump(_exact(record), stream)
    return stream.getvalue()


def _exact(value: Any) -> Any:
    """A value in the form that every YAML reader, of any version of the language, gives back as it was."""
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    if isinstance(value, Mapping):
        return {key: _exact(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_exact(one) for one in value]
    if not isinstance(value, str):
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return os.fsencode(value)  # a file name that is not UTF-8
    return DoubleQuotedScalarString(value)


def _seal(record: Mapping[str, Any], content: bytes) -> str:
    fields = {key: value for key, value in record.items() if key != _SEAL}
    digest = hashlib.sha256(json.dumps(fields, sort_keys=True, default=repr).encode())
    digest.update(content)
    return digest.hexdigest()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
