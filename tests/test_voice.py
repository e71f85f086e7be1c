"""Every refusal speaks in one voice: a sentence without a stop, and what to do, which is a command after `run:` or words."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from .test_docs import ROOT, sources

COMMAND = re.compile(r"(?:kitty|git|pip|python|mv|uv) [a-z-]")


def spoken(tree: ast.AST) -> Iterator[tuple[int, str, str]]:
    """The line, the message and the hint of each refusal and finding that is made here, with `…` for what is filled in."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and len(node.args) >= 3:
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name.endswith(("Error", "Finding")) and "A" <= words(node.args[0])[:1] <= "Z":
                yield node.lineno, words(node.args[1]), words(node.args[2])


def words(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    if isinstance(node, ast.IfExp):
        return words(node.body)
    if isinstance(node, ast.BinOp):
        return words(node.left) + words(node.right)
    return "…"


def wrong(message: str, hint: str) -> list[str]:
    """What of it is not the voice of the house."""
    found = ["a stop at the end"] if message.endswith(".") or hint.endswith((".", "!")) else []
    found += ["a capital at the beginning of what to do"] if re.match("[A-Z][a-z]", hint) else []
    found += ["a command without `run:` before it"] if COMMAND.match(hint) else []
    found += ["more than one line"] if "\n" in message + hint else []
    return found + [word for word in ("please", "sorry", "run this again") if word in f"{message} {hint}".lower()]


def test_every_refusal_and_finding_speaks_in_one_voice() -> None:
    told = [(path, *one) for path in sources() for one in spoken(ast.parse(path.read_text(encoding="utf-8")))]
    assert len(told) > 250
    faults = [(str(path.relative_to(ROOT)), line, what) for path, line, *said in told if (what := wrong(*said))]
    assert faults == []


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        ("it broke.", "mend it"),
        ("it broke", "Mend it"),
        ("it broke", "kitty status"),
        ("it broke", "please mend it"),
        ("it broke", "mend it\nand more"),
        ("it broke", "run this again"),
    ],
)
def test_another_voice_would_be_heard(message: str, hint: str) -> None:
    [said] = spoken(ast.parse(f"raise KittyError('CODE', {message!r}, {hint!r})"))
    assert wrong(*said[1:])
    assert not wrong("the branch is gone", "run: git branch x; or leave it")
