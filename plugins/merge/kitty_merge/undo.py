"""Taking a landing back: the same move in the other direction. Rows of the ledger are never taken back; more are written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from kitty_host.api import KittyError
from kitty_host.ledger.emit import stamp
from kitty_host.ledger.event import LANDED, UNDONE, Row, encode, envelope, transition
from kitty_host.ledger.log import FILE as LEDGER
from kitty_host.ledger.machine import APPROVED, DONE
from kitty_host.mission import Mission
from kitty_host.state import State
from kitty_merge import move, trees
from kitty_merge.checkout import Checkout
from kitty_merge.intent import Intent
from kitty_merge.journal import Journal, WayBack, merge_lock
from kitty_merge.own_records import record_path
from kitty_merge.receipt import receipt
from kitty_merge.recovery import recover


class Undone(NamedTuple):
    """A landing that was taken back."""

    target: str
    old: str
    """What the target was, the landing, and `new`: what it is again."""
    new: str
    wp_ids: tuple[str, ...]
    """The work packages that are approved again."""


def undo(mission: Mission, *, actor: str, dry_run: bool = False) -> Undone:
    """Take the last landing of a mission back: target, checkouts, number, and the states of its work packages.

    One that was killed is finished, or done over. Whoever calls this drops the intent. Errors: `UNDO_REFUSED` where it has not landed
    or somebody has built on it; `MERGE_DIRTY`, `MERGE_IN_THE_WAY`, `LOCK_HELD` as for a landing; nothing has moved then.
    """
    repo = mission.repo
    with merge_lock(repo):
        recover(repo)
        mission = mission.refresh()
        begun = Intent.read(mission)
        if (done := finished(mission, begun)) is not None:
            return done
        if begun.what == "landing" and begun.conflict:
            raise KittyError(
                "UNDO_REFUSED",
                f"{mission.slug} is being landed again and has a conflict",
                "give that up: kitty merge --abort",
            )
        state = State.load(mission)
        landing = _last_landing(mission, state)
        target, old, new = landing["target"], landing["new"], landing["old"]
        _require_unbuilt(mission, target, old)
        way_back = WayBack.read(repo, mission.mission_id, old)
        with move.locked_checkouts(mission, target) as checkouts:
            with mission.ledger.locked(wait_seconds=move.PATIENCE):
                rows = _rows(State.load(mission), landing, actor)
                wp_ids = tuple(str(row["wp_id"]) for row in rows if "wp_id" in row)
                lines = [*mission.ledger.lines(), *(encode(row).encode().removesuffix(b"\n") for row in rows)]
                journal = _journal(mission, landing, lines, checkouts, way_back)
                if dry_run:
                    return Undone(target, old, new, wp_ids)
                if begun.what != "abort":
                    Intent("undo", rows=state.snapshot.rows).write(mission)
                try:
                    journal.write(repo)
                    move.refs(repo, journal, f"kitty merge --undo: {mission.slug}", again="run it again")
                except KittyError:
                    if begun.what != "abort" and not journal.has_moved(repo.git):
                        Intent.drop(mission)
                    raise
                rescued = move.follow(mission, journal, lines, checkouts)
            move.wind_up(repo, journal, rescued)
    return Undone(target, old, new, wp_ids)


def finished(mission: Mission, begun: Intent) -> Undone | None:
    """What an undo, or an abort, has done of which that is the intent; None where it has not moved the target, or there was none."""
    if begun.what not in ("undo", "abort") or begun.rows is None:
        return None
    rows = mission.ledger.rows()[begun.rows :]
    payload = next((row["payload"] for row in reversed(rows) if row.get("event_type") == UNDONE), None)
    if payload is None:
        return None
    back = (str(row["wp_id"]) for row in rows if (row.get("from_lane"), row.get("to_lane")) == (DONE, APPROVED))
    return Undone(payload["target"], payload["old"], payload["new"], tuple(dict.fromkeys(back)))


def _last_landing(mission: Mission, state: State) -> Mapping[str, Any]:
    last = state.last_other(LANDED, UNDONE)
    found = receipt(mission, state) if last is not None and last.kind == LANDED else None
    if found is None:
        raise KittyError("UNDO_REFUSED", f"{mission.slug} has not landed", "there is nothing to undo: kitty status")
    return found


def _require_unbuilt(mission: Mission, target: str, landed: str) -> None:
    """Nobody may have it as his base, here or, as far as this repository knows, elsewhere."""
    git = mission.repo.git
    way = f"take it back by a commit of its own: git revert --mainline 1 {landed[:10]}"
    now = git.commit_of(target)
    if now != landed:
        raise KittyError("UNDO_REFUSED", f"{target.removeprefix('refs/heads/')} has moved on since", way, target=target)
    mine = (f"refs/kitty/{mission.mission_id}/", f"refs/heads/{mission.branch}-lane-")
    others = [
        ref
        for ref in git.lines("for-each-ref", f"--contains={landed}", "--format=%(refname)")
        if ref != target and not ref.startswith(mine)
    ]
    if others:
        raise KittyError("UNDO_REFUSED", f"{others[0]} has been built on the landing", way, refs=others)


def _rows(state: State, landing: Mapping[str, Any], actor: str) -> list[Row]:
    """What the landing said, said the other way round; evidence and approved commits stay in force."""
    mission = state.mission
    rows = []
    for wp_id in landing["done"]:
        known = state.snapshot.packages[wp_id]
        if known.lane == DONE:
            approval = known.entered[APPROVED].row
            rows.append(
                transition(
                    wp_id,
                    DONE,
                    APPROVED,
                    actor=actor,
                    mission_id=mission.mission_id,
                    mission_slug=mission.slug,
                    direct=approval.get("execution_mode") == "direct_repo",
                    force=True,
                    reason="its landing was undone",
                    evidence=approval.get("evidence"),
                )
            )
    payload = {
        "mission_slug": mission.slug,
        "landing": landing["event_id"],
        "target": landing["target"],
        "old": landing["new"],
        "new": landing["old"],
        "actor": actor,
    }
    rows.append(envelope(UNDONE, payload, aggregate_id=mission.mission_id))
    return stamp(state, rows)


def _journal(
    mission: Mission, landing: Mapping[str, Any], lines: list[bytes], checkouts: list[Checkout], way_back: WayBack
) -> Journal:
    repo, git = mission.repo, mission.repo.git
    old, new = landing["new"], landing["old"]
    kept: dict[str, dict[str, trees.Entry]] = {}
    after: dict[str, dict[str, trees.Entry | None]] = {}
    rescue: dict[str, list[str]] = {}
    for checkout in checkouts:
        name = str(checkout.path)
        known = way_back.before.get(name, {})
        # What was the user's before stays where it is, and so does the live ledger; only their index entries go back.
        paths = {*known, *([record_path(mission, LEDGER)] if checkout.holds_the_live_ledger else [])}
        kept[name] = trees.entries(git, old, *sorted(paths)) if paths else {}
        after[name] = {path: entry for path, entry in known.items() if path in kept[name]}
        prepared = checkout.prepare(old, move.shown_tree(repo, new, kept[name]), kept[name])
        rescue[name] = prepared.aside
    ledger = mission.ledger.ref
    previous = git.refs(ledger).get(ledger)
    commit = mission.ledger.commit(git, lines, f"Landing of {mission.slug} undone\n", [previous] if previous else [])
    # The ref that led back stays: removing one takes a lock of all refs, which a kill would leave behind.
    updates = [(landing["target"], new, old), (ledger, commit, previous or git.null_id)]
    return Journal(
        "undo", mission.mission_id, str(mission.directory), landing["target"], old, new, updates, [], commit,
        list(kept), kept, after, rescue, {},
    )  # fmt: skip
