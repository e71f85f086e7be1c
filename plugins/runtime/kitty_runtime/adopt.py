"""`kitty mission adopt`: a mission that spec-kitty keeps on a coordination branch comes into the canonical checkout, ledger and all."""

from __future__ import annotations

from typing import Any

from kitty_host.api import KittyError
from kitty_host.command import Invocation
from kitty_host.coordination import ADOPTED, Copy
from kitty_host.files import atomic_write
from kitty_host.inert import inert
from kitty_host.ledger.emit import emit
from kitty_host.ledger.event import envelope
from kitty_host.ledger.lines import whole_lines
from kitty_host.ledger.log import FILE
from kitty_host.mission import META, Mission
from kitty_host.report import counted

ADOPTION = "MissionAdopted"


def adopt(call: Invocation) -> None:
    """Adopt the mission that is meant. Errors: `EVENT_ID_CONFLICT` where the two ledgers contradict each other."""
    found = call.mission
    copy = found.coordination
    payload: dict[str, Any] = {"schema": "kitty.adopted/1", "mission_id": found.mission_id, "slug": found.slug}
    if copy is None:
        call.show(
            {**payload, "adopted": False, "rows": 0, "files": [], "different": []},
            f"{found.slug} is in this checkout already.",
        )
        return
    actor = call.actor()
    mine = Mission(call.repo, found.directory, _meta(found))
    mine.coordination = None
    with mine.ledger.locked():
        # Under the lock that spec-kitty takes for its copy too: nothing is added to it in between.
        rows = mine.ledger.take_in(whole_lines(copy.read(FILE) or b""))
        files, different = _take_files(found, copy)
        # The last step: until it is done the mission counts as not adopted, and adopting it again goes on.
        mine.save()
    note = {"branch": copy.branch, "rows": rows, "files": files, "actor": actor}
    emit(call.plugins, mine, lambda state: [envelope(ADOPTION, note, aggregate_id=mine.mission_id)])
    mine.ledger.checkpoint(call.repo.git, f"Adopt {mine.slug}\n")
    text = [
        f"{mine.slug} is in this checkout now: {counted(rows, 'row')} and {counted(len(files), 'file')} came along."
    ]
    text += [f"differs, and stays as it is here: {inert(name)}" for name in different]
    text += [f"Commit it: git add {call.repo.relative(mine.directory)} && git commit -m 'Adopt {mine.slug}'"]
    call.show({**payload, "adopted": True, "rows": rows, "files": files, "different": different}, "\n".join(text))


def _meta(found: Mission) -> dict[str, Any]:
    topology = str(found.meta["topology"])
    return {**found.meta, "topology": ADOPTED[topology], "coordination_branch": None}


def _take_files(found: Mission, copy: Copy) -> tuple[list[str], list[str]]:
    """Bring over what is missing here; returns those names, and the names of files that both sides have and that differ."""
    taken: list[str] = []
    different: list[str] = []
    for name in copy.names():
        content = None if name in (FILE, META, "status.json") else copy.read(name)
        if content is None:
            continue
        path = found.directory / name
        if path.is_symlink() or not path.parent.resolve().is_relative_to(found.directory.resolve()):
            raise KittyError("MISSION_DAMAGED", f"{path} leads elsewhere", "make it a plain file and run it again")
        if not path.exists():
            atomic_write(path, content)
            taken.append(name)
        elif path.read_bytes() != content:
            different.append(name)
    return taken, different
