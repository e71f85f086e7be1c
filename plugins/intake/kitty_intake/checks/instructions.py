"""Sentences that speak to the tool that reads the plan instead of saying what is wanted."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from kitty_host.inert import inert

_PIECE = 1 << 16
_MARKUP = dict.fromkeys(map(ord, "*`~\u00ad\u200b\u200c\u200d\u2060\ufeff"))
_ALL = r"(?:(?:all|any|of|the|your|my|our|its|these|those|every)\s+){0,4}"
_EARLIER = r"(?:(?:previous|prior|above|earlier|preceding|other|existing|system|safety|security|project|house)\s+){1,3}"
_ORDERS = r"(?:instructions?|prompts?|rules?|guidelines?|directions?|orders?|guardrails?|constraints?)\b"
_MACHINE = r"(?:ai|llm|model|assistant|agent|chatbot|claude|copilot|codex|gemini|cursor|chatgpt|gpt)s?\b"
_PEOPLE = r"(?:the\s+)?(?:user|human|operator|reviewer|developer)s?\b"
_TAGS = r"system|system[-_]prompt|system[-_]reminder|tool_call|tool_use|function_calls?|invoke"

# A text that must be there, so that a long plan is not searched for each, and what is meant.
_PATTERNS = tuple(
    (must, re.compile(pattern))
    for must, pattern in (
        *((word, rf"\b{word}\s+{_ALL}{_EARLIER}{_ORDERS}") for word in ("ignore", "disregard", "forget", "override")),
        ("forget", r"\bforget\s+everything\b"),
        ("system prompt", rf"\b(?:reveal|print|repeat|output|leak|ignore|replace)\s+{_ALL}system\s+prompt"),
        ("instructions", rf"\b(?:new|updated|real|actual|secret)\s+instructions\s+(?:for|to)\s+(?:the\s+)?{_MACHINE}"),
        ("you are", r"\byou\s+are\s+(?:now\s+)?in\s+(?:developer|debug|god)\s+mode\b"),
        ("you are", rf"\byou\s+are\s+now\s+(?:an?\s+|the\s+)?(?:\w+\s+){{0,3}}{_MACHINE}"),
        ("if you", rf"\bif\s+you\s+are\s+an?\s+(?:\w+\s+)?{_MACHINE}"),
        ("as an", rf"\bas\s+an?\s+(?:ai|llm)(?:\s+{_MACHINE})?,?\s+you\b"),
        (
            "to",
            rf"\b(?:note|message|attention|instructions?)\s+(?:to|for)\s+(?:the\s+|any\s+|all\s+)?(?:\w+\s+)?{_MACHINE}\s*[:,]",
        ),
        ("not", rf"\b(?:do\s+not|never)\s+(?:tell|inform|notify|alert|ask)\s+{_PEOPLE}"),
        ("n't", rf"\bdon't\s+(?:tell|inform|notify|alert|ask)\s+{_PEOPLE}"),
        ("without", rf"\bwithout\s+(?:asking|telling|informing|notifying)\s+{_PEOPLE}"),
        ("|>", r"<\|(?:im_start|im_end|system|user|assistant|endoftext|begin_of_text|eot_id)\|>"),
        ("inst]", r"\[/?inst\]"),
        ("<", rf"</?(?:{_TAGS})(?:\s[^<>]{{0,200}})?>"),
        ("| ", r"\b(?:curl|wget)\s[^\n|]{1,300}\|\s+(?:sudo\s+)?(?:ba|z|da)?sh\b"),
        ("rm -", r"\brm\s+-(?:rf|fr)\s+(?:/|~|\$home)(?:\s|$|\*)"),
        ("--", r"--(?:dangerously-[a-z-]{1,40}|no-verify|yolo|skip-permissions)\b"),
        ("exfiltrate", r"\bexfiltrate\b"),
        ("environment", rf"\b(?:send|post|upload|print|reveal|leak)\s+{_ALL}environment\s+variables"),
        ("credentials", rf"\b(?:send|post|upload|print|reveal|leak)\s+{_ALL}credentials\b"),
    )
)


def find(text: str) -> Iterator[tuple[int, str]]:
    """Where a text speaks to agents or tools."""
    at = 0
    while at < len(text):
        # Piece by piece, since a piece is held in several forms; a sentence that a cut goes through has a line break in it.
        end = text.rfind("\n", at, at + _PIECE) + 1 or at + _PIECE
        piece = text[at:end]
        # By line, for what is normalised is no longer as long as it was.
        lines = [0]
        for line, told in _sentences(piece):
            while len(lines) <= line:
                lines.append(piece.index("\n", lines[-1]) + 1)
            yield at + lines[line], f"speaks to agents: {inert(told, prose=True, limit=80)}"
        at = end


def _sentences(piece: str) -> list[tuple[int, str]]:
    """Lines, counted from 0, and what is said there."""
    plain = unicodedata.normalize("NFKC", piece).translate(_MARKUP).lower()
    found = [one for must, pattern in _PATTERNS if must in plain for one in pattern.finditer(plain)]
    return sorted((plain.count("\n", 0, one.start()), one[0]) for one in found)
