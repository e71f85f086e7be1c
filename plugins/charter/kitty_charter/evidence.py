"""Evidence that a thing is so: tests that are collected, commits that are there, anchors that exist, follow-ups that can be found.

What a text cites is resolved in one checkout. Whether that is enough for a verdict is known here too; who asks, and what for, is not.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from kitty_charter.exceptions import FOLLOW_UP
from kitty_charter.introspect import python_of
from kitty_charter.matrix import DEFERRED, Row, problems
from kitty_charter.suite import run
from kitty_host.git import Git
from kitty_host.inert import inert, pattern
from kitty_host.records import Suite
from kitty_host.repo import Repo

TEST, COMMIT, ANCHOR, PATH, ISSUE = "test", "commit", "anchor", "path", "follow-up"
_SECONDS = 600.0
"""How long it may take to collect the tests of a project."""
_PLUGIN = Path(__file__).parent / "collect"
_TEST_FILE = re.compile(r"(?:^|/)(?:test_[^/]*|[^/]*_test|[^/]*\.(?:test|spec))\.\w+$")


class Citation(NamedTuple):
    """Something that a text names as evidence."""

    kind: str
    name: str


class Ground:
    """A checkout in which evidence is looked for: its files, its commits, its tests."""

    def __init__(self, repo: Repo, directory: Path) -> None:
        self.repo = repo
        self.directory = directory
        self._git = Git(directory)
        self._collected: dict[str, frozenset[str]] = {}
        self.trouble = ""
        """Why tests could not be collected; empty where they could."""

    @cached_property
    def files(self) -> frozenset[str]:
        """What Git tracks there."""
        return frozenset(self._git.records("ls-files", "-z"))

    def collect(self, rows: Iterable[Row]) -> None:
        """Collect the tests of every Python file that the rows cite, by one run of pytest."""
        cited = {
            one.name.partition("::")[0]
            for row in rows
            for one in citations(row.evidence, self.files)
            if one.kind == TEST
        }
        known = sorted(path for path in cited if path in self.files and path.endswith(".py"))
        if not known:
            return
        scratch = self.repo.state / "evidence"
        listing = scratch / "collected.json"
        listing.unlink(missing_ok=True)
        asked = ("-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-p", "kitty_collecting", "-m", "")
        # Not `{report}`: braces in a path are braces.
        command = shlex.join([str(python_of(self.repo)), *asked, *known])
        outcome = run(
            Suite("evidence", command, _SECONDS, minimum_tests=0),
            self.directory,
            scratch,
            {"KITTY_COLLECTED": str(listing), "PYTHONPATH": str(_PLUGIN), "PYTHONDONTWRITEBYTECODE": "1"},
        )
        try:
            ids = json.loads(listing.read_bytes())
        except (OSError, ValueError):
            self.trouble = (
                f"no test could be collected: {outcome.trouble or f'exit code {outcome.exit_code}'} ({outcome.log})"
            )
            return
        for path in known:
            self._collected[path] = frozenset(one for one in ids if one.partition("::")[0] == path)

    def fault(self, citation: Citation, issue: str) -> str:
        """Why a citation proves nothing; empty where it resolves."""
        kind, name = citation
        if kind == TEST:
            return self._test_fault(name)
        if kind == COMMIT:
            commit = self._git.commit_of(name)
            reached = commit is not None and self._git.is_ancestor(commit, "HEAD")
            return "" if reached else f"commit {name} is {'not in the history' if commit else 'nowhere'}"
        if kind == ANCHOR:
            return self._anchor_fault(name)
        if kind == PATH:
            return "" if self._exists(name) else f"{pattern(name)} does not exist"
        return f"the follow-up {pattern(name)} is the issue itself" if name == issue else ""

    def _exists(self, path: str) -> bool:
        return path in self.files or any(one.startswith(f"{path.rstrip('/')}/") for one in self.files)

    def _test_fault(self, name: str) -> str:
        path, _, test = name.partition("::")
        if path not in self.files:
            return f"the test {pattern(path)} does not exist"
        if not path.endswith(".py"):
            words = test.rpartition("::")[2]
            said = (self.directory / path).read_text(encoding="utf-8", errors="replace")
            return "" if words in said else f"there is no {pattern(words)} in {pattern(path)}"
        if self.trouble:
            return self.trouble
        found = self._collected.get(path, frozenset())
        if not any(one == name or one.startswith((f"{name}[", f"{name}::")) for one in found):
            return f"the test {pattern(name)} is not collected"
        return ""

    def _anchor_fault(self, name: str) -> str:
        path, _, anchor = name.partition("#")
        if path not in self.files:
            return f"{pattern(path)} does not exist"
        text = (self.directory / path).read_text(encoding="utf-8", errors="replace")
        titles = re.findall(r"^#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$", text, re.MULTILINE)
        known = {re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", title.lower()).strip()) for title in titles}
        known |= set(re.findall(r"<a (?:id|name)=[\"']([^\"']+)", text))
        return "" if anchor in known else f"there is no #{inert(anchor)} in {pattern(path)}"


def citations(text: str, files: Iterable[str] = ()) -> Iterator[Citation]:
    """Everything in a text that can be looked up. `files` tell a path from two words with a slash between them."""
    roots = {path.partition("/")[0] for path in files if "/" in path}
    for word in re.split(r"[\s,;]+|<br\s*/?>", text):
        word = re.sub(r"[.:)\]]+$", "", word.strip("`\"'()")) if "[" not in word else word.strip("`\"'(")
        if not word:
            continue
        path, _, rest = word.partition("::")
        if FOLLOW_UP.fullmatch(word):
            yield Citation(ISSUE, word)
        elif re.fullmatch(r"[0-9a-f]{7,40}", word) and re.search(r"\d", word):
            yield Citation(COMMIT, word)
        elif rest or _TEST_FILE.search(path):
            yield Citation(TEST, word)
        elif re.fullmatch(r"[\w./-]+\.\w+#[\w-]+", word):
            yield Citation(ANCHOR, word)
        elif re.fullmatch(r"test_\w+", word):
            yield Citation(TEST, word)
        elif "/" in word and (re.search(r"\.\w{1,5}$", word) or word.partition("/")[0] in roots):
            yield Citation(PATH, word)


def judged(found: Sequence[Row], repo: Repo, directory: Path) -> dict[str, list[str]]:
    """What is wrong with each issue, in the checkout of `directory`."""
    ground = Ground(repo, directory)
    ground.collect(found)
    told: dict[str, list[str]] = {}
    for row in found:
        faults = list(problems(row, found)) or unproven(row, ground)
        told.setdefault(row.issue, []).extend(fault for fault in faults if fault not in told.get(row.issue, ()))
    return told


def unproven(row: Row, ground: Ground) -> list[str]:
    """Why a row's evidence does not hold; empty where all of it does, and there is enough."""
    found = list(citations(row.evidence, ground.files))
    faults = [fault for one in found if (fault := ground.fault(one, row.issue))]
    kinds = {one.kind for one in found}
    if row.verdict == DEFERRED:
        lacks = "" if ISSUE in kinds else "no follow-up can be found by it: #12, owner/repo#12, KEY-12 or an address"
    else:
        lacks = "" if kinds & {TEST, COMMIT, ANCHOR} else "it names no test, no commit and no anchor"
    return [*faults, *([lacks] if lacks else [])]


def counts(rows: Sequence[Row]) -> Mapping[str, int]:
    """How many rows have which verdict."""
    return {verdict: sum(row.verdict == verdict for row in rows) for verdict in sorted({row.verdict for row in rows})}
