"""`kitty matrix check`: every row of an issue matrix, with its evidence looked up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kitty_charter.evidence import counts, judged
from kitty_charter.exceptions import FOLLOW_UP
from kitty_charter.matrix import NAMES, Row, Unreadable, rows
from kitty_host.api import Finding, KittyError
from kitty_host.command import Invocation, command, group
from kitty_host.inert import inert, visible
from kitty_host.report import counted, note

matrix = group("matrix", help="What became of each issue, and what proves it.")


@command("check", mission=True, group=matrix)
@click.argument("file", required=False, type=click.Path(path_type=Path))
def check(call: Invocation, file: Path | None) -> None:
    """Check FILE, else the mission's issue matrix: one verdict per issue, and evidence that can be found."""
    path = call.directory / file if file else _of_mission(call)
    try:
        found = rows(path.read_bytes(), path.name)
    except (OSError, Unreadable) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        raise KittyError("MATRIX_UNREADABLE", f"{path}: {said}", "mend the file, or name another one") from error
    note(f"Looking up the evidence of {counted(len(found), 'row')} …")
    told = judged(found, call.repo, call.repo.root)
    wrong = {issue: faults for issue, faults in told.items() if faults}
    numbers = counts(found)
    if wrong:
        lines = [f"{_named(issue)}: {visible(fault)}" for issue, faults in wrong.items() for fault in faults]
        if not call.json:
            note("\n".join(f"  {line}" for line in lines))
        raise KittyError(
            "MATRIX_UNPROVEN",
            f"{len(wrong)} of {counted(len(told), 'issue')} in {path.name} are not proven; the first is {lines[0]}",
            "name evidence that is there, or another verdict",
            findings=[_finding(issue, fault) for issue, faults in wrong.items() for fault in faults],
            counts=numbers,
        )
    said = ", ".join(f"{number} {verdict}" for verdict, number in numbers.items())
    call.show(
        {"schema": "kitty.matrix/1", "findings": [], "counts": numbers, "rows": [_shown(row) for row in found]},
        f"{counted(len(found), 'issue')}: {said}. All of the evidence is there.",
    )


def _of_mission(call: Invocation) -> Path:
    for name in NAMES:
        path = call.mission.directory / name
        if path.is_file():
            return path
    raise KittyError(
        "MATRIX_UNREADABLE",
        f"{call.mission.slug} has no issue matrix",
        f"write {NAMES[1]} with the columns issue, verdict and evidence ref, or name a file",
    )


def _named(issue: str) -> str:
    """An issue's number and address are harmless as they are."""
    return issue if FOLLOW_UP.fullmatch(issue) else inert(issue, prose=True) or "a row"


def _finding(issue: str, fault: str) -> dict[str, Any]:
    return Finding("MATRIX_UNPROVEN", f"{_named(issue)}: {fault}", "name evidence that is there")._asdict()


def _shown(row: Row) -> dict[str, str]:
    return {name: inert(value, prose=True) for name, value in row._asdict().items()}
