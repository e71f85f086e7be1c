"""The page that says what proves what: every id is there once, every proof is there too, and what is only planned is counted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from kitty_charter.evidence import ANCHOR, TEST, Ground, citations
from kitty_charter.matrix import VERDICTS, Row
from kitty_host.repo import Repo
from kitty_host.testing import Project

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "traceability.md").read_text(encoding="utf-8")
PLANNED = "planned"
# How many rows of each table may say so. What gets its proof lowers the number here.
MAY_BE_PLANNED = {"requirement": 0, "issue": 0}

RANGES = {"FR": 41, "NFR": 10, "C": 10, "SC": 12}
WITHOUT_A_NUMBER = 14
ISSUES = {
    "": (
        *(306, 335, 336, 343, 352, 416, 419, 420, 421, 443, 526, 538, 539, 540, 541, 542, 551, 552, 564, 622, 675),
        *(710, 715, 717, 720, 721, 722, 723, 724, 725, 727, 765, 770, 772, 773, 775, 783, 784, 785, 787, 790, 791, 792),
        801,
    ),
    "spec-kitty-events": (7, 8, 16),
    "spec-kitty-tracker": (1, 5, 6, 12),
    "spec-kitty-runtime": (7, 8, 11, 16),
}


class Said(NamedTuple):
    """A row of either table."""

    kind: str
    id: str
    asks: str
    verdict: str
    proof: str


def wanted() -> Counter[tuple[str, str]]:
    """How often each id shall be there."""
    found = Counter(("requirement", f"{kind}-{n:03}") for kind, most in RANGES.items() for n in range(1, most + 1))
    found["requirement", "—"] = WITHOUT_A_NUMBER
    found.update(("issue", f"{repository}#{n}") for repository, numbers in ISSUES.items() for n in numbers)
    return found


def rows(page: str) -> Iterator[Said]:
    """A requirement has no verdict of its own: it has a proof, or is planned."""
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if not line.startswith("| ") or cells[0] in ("id", "issue"):
            continue
        if len(cells) == 3:
            planned = cells[2].partition(":")[0].partition(";")[0] == PLANNED
            yield Said("requirement", cells[0], cells[1], PLANNED if planned else "", cells[2])
        else:
            name, asks, verdict, proof = cells
            yield Said("issue", name, asks, verdict.strip("`"), proof)


def faults(page: str) -> list[str]:
    """What is wrong with the rows, whether or not their proofs are there."""
    found, due = list(rows(page)), wanted()
    told = Counter((row.kind, row.id) for row in found)
    wrong = [
        f"{name} is there {told[kind, name]} times" for kind, name in due | told if told[kind, name] != due[kind, name]
    ]
    wrong += [f"two rows ask for: {asks}" for asks, times in unnumbered(found).items() if times > 1]
    for row in found:
        kinds = {one.kind for one in citations(row.proof)}
        if row.verdict not in ("", PLANNED, *VERDICTS) or (row.kind == "issue" and not row.verdict):
            wrong.append(f"{row.id} has the verdict {row.verdict!r}")
        if row.verdict != PLANNED and not kinds & {TEST, ANCHOR}:
            wrong.append(f"{row.id} has no proof")
        elif row.kind == "requirement" and row.id != "—" and row.verdict != PLANNED and TEST not in kinds:
            wrong.append(f"{row.id} has no test")
    counted = Counter(row.kind for row in found if row.verdict == PLANNED)
    wrong += [f"{n} rows of kind {kind} are planned" for kind, n in counted.items() if n != MAY_BE_PLANNED[kind]]
    return wrong


def unnumbered(found: Sequence[Said]) -> Counter[str]:
    return Counter(row.asks for row in found if row.id == "—")


def missing(page: str, repo: Repo) -> list[str]:
    """The proofs of a page that are not there, by one run of pytest; `repo` lends its place for the list."""
    ground, found = Ground(repo, ROOT), list(rows(page))
    ground.collect(Row(row.id, row.verdict, row.proof) for row in found)
    assert ground.trouble == ""
    return [
        f"{row.id}: {fault}"
        for row in found
        for one in citations(row.proof, ground.files)
        if (fault := ground.fault(one, row.id))
    ]


@pytest.fixture
def scratch(tmp_path: Path, make_project: Callable[[str], Project]) -> Repo:
    """A repository that is not this one, so that nothing is written here."""
    return Repo.find(make_project("scratch").root)


def test_SC_009_every_row_is_there_once() -> None:
    assert sum(map(len, ISSUES.values())) == 55
    assert faults(PAGE) == []


def test_every_proof_is_there(scratch: Repo) -> None:
    """And the look finds what is not: one page more, with one test renamed and one anchor lost."""
    lie, gone = "test_FR_041_SC_010_contract_drift_is_caught_whenever", "docs/tests.md#nowhere"
    planted = f"| SC-010 | x | `tests/e2e/test_scenarios.py::{lie}` |\n| NFR-002 | x | {gone} |\n"
    assert missing(PAGE + planted, scratch) == [
        f"SC-010: the test `tests/e2e/test_scenarios.py::{lie}` is not collected",
        "NFR-002: there is no #nowhere in `docs/tests.md`",
    ]


BOARD = "the board, in the terminal and in a browser"


def line(start: str) -> str:
    [found] = [one for one in PAGE.splitlines(keepends=True) if one.startswith(f"| {start} |")]
    return found


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (line("FR-007"), "", "FR-007 is there 0 times"),
        (line("FR-007"), line("FR-007") * 2, "FR-007 is there 2 times"),
        (line("#801"), "", "#801 is there 0 times"),
        (line("#801"), line("#801").replace("#801", "#802"), "#802 is there 1 times"),
        (line("FR-038"), "| FR-038 | it works | we looked |\n", "FR-038 has no proof"),
        (line("FR-038"), "| FR-038 | it works | `docs/tests.md#coverage` |\n", "FR-038 has no test"),
        (line("FR-038"), "| FR-038 | it works | planned |\n", f"{MAY_BE_PLANNED['requirement'] + 1} rows of kind requirement are planned"),
        (line("#785"), line("#785").replace("`fixed`", "`unknown`"), "#785 has the verdict 'unknown'"),
        (line("#785"), line("#785").replace("`fixed`", ""), "#785 has the verdict ''"),
        (line("#785"), "| #785 | x | `fixed` | we looked |\n", "#785 has no proof"),
        ("a mission gets its number when it lands", BOARD, f"two rows ask for: {BOARD}"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_row_is_seen(old: str, new: str, said: str) -> None:
    assert old in PAGE
    assert said in faults(PAGE.replace(old, new, 1))


def test_the_page_speaks_of_this_repository_alone() -> None:
    """Every path in it is one from its root."""
    assert re.findall(r"(?<![\w.`])/\w+|\.\./|~/", PAGE) == []
