"""The landing: one move of the target from OLD to NEW, and everything that follows it (ADR 0003).

Killed anywhere, the target is OLD or NEW; the next `kitty merge` finishes or forgets what was begun.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from attrs import asdict, evolve

from kitty_host.api import KittyError
from kitty_host.files import atomic_write, lock, remove
from kitty_host.ledger.event import Row, encode, envelope, transition, ulid
from kitty_host.ledger.log import FILE
from kitty_host.ledger.machine import APPROVED, DONE
from kitty_host.mission import META, Mission, encode_meta, read_mission
from kitty_host.records import Candidate, Landing, LaneAccount
from kitty_host.repo import MISSIONS, Repo
from kitty_host.state import LANDED, State
from kitty_merge import trees
from kitty_merge.candidate import account, objections
from kitty_merge.checkout import Checkout, checkouts_of
from kitty_merge.own_records import record_path

ACTOR = "kitty:merge"


class Journal(NamedTuple):
    """What recovery needs to know about a landing that was begun; written before the ref moves, removed last."""

    mission_id: str
    directory: str
    target: str
    old: str
    new: str
    ledger_ref: str
    ledger_commit: str
    own: dict[str, list[str]]
    checkouts: list[str]
    rescue: dict[str, list[str]]

    def own_entries(self) -> dict[str, trees.Entry]:
        """The records that are never written over, as NEW has them."""
        return {path: trees.Entry(*entry) for path, entry in self.own.items()}


class _Final(NamedTuple):
    """The commit that lands, and what it holds of kitty's own."""

    new: str
    ledger_lines: list[bytes]
    own: dict[str, trees.Entry]
    landing: Landing


def land(candidate: Candidate) -> Landing:
    """Land a candidate whose checks have passed.

    Errors: `LOCK_HELD`, `MERGE_TARGET_MOVED`, `MERGE_HEAD_MOVED`, `MERGE_INCOMPLETE`, `MERGE_NOT_APPROVED`, `MERGE_DIRTY`,
    `MERGE_IN_THE_WAY`; after any of them nothing has moved.
    """
    mission = candidate.mission
    repo = mission.repo
    with merge_lock(repo):
        _recover_all(repo)
        _require_unmoved(candidate)
        accounts = account(candidate)
        checkouts = checkouts_of(repo, candidate.target, _tokens(repo, mission))
        journalled = False
        try:
            for checkout in checkouts:
                checkout.take_lock()
            with mission.ledger.locked():
                _require_approved(candidate)
                final = _final(candidate, accounts)
                journal = _journal(candidate, final, checkouts)
                _write_journal(repo, journal)
                journalled = True
                _move_refs(repo, candidate, journal)
                rescued = _complete(repo, mission, journal, final.ledger_lines)
        except BaseException:
            if not journalled or repo.git.commit_of(candidate.target) == candidate.old:
                _forget(repo, mission, checkouts)
            raise
        _after(repo, mission)
    return evolve(final.landing, new=final.new, rescued=tuple(map(str, rescued)))


@contextlib.contextmanager
def merge_lock(repo: Repo) -> Iterator[None]:
    """One landing at a time in a repository. Errors: `LOCK_HELD`."""
    with lock(repo.state / "merge.lock", wait_seconds=0, purpose="the merge lock: another landing runs"):
        yield


class Recovery(NamedTuple):
    """What was left of landings that were begun."""

    missions: list[str]
    rescued: list[Path]
    """Where files of the user's were moved."""


def recover(repo: Repo) -> Recovery:
    """Finish or forget every landing that was begun.

    Errors: `LOCK_HELD`, `MERGE_INCOMPLETE`.
    """
    if not any(_journals(repo).glob("*")):
        return Recovery([], [])
    with merge_lock(repo):
        return _recover_all(repo)


def unfinished(repo: Repo) -> list[str]:
    """The ids of missions whose landing was begun and is not finished."""
    return sorted(path.stem for path in _journals(repo).glob("*.json"))


# The final tree


def _final(candidate: Candidate, accounts: tuple[LaneAccount, ...]) -> _Final:
    """The candidate plus the mission's own records, as one commit. The same ledger and candidate give the same tree."""
    mission = candidate.mission
    git = mission.repo.git
    live = mission.ledger.lines()
    tip_copy = mission.ledger.union(live, _lines_in(git.read_blob(candidate.tip, record_path(mission, FILE))))
    known = mission.ledger.union(tip_copy, mission.ledger.lines_at(git, mission.ledger.ref))
    state = State.load(mission)
    seed = hashlib.sha256(json.dumps([candidate.old, candidate.heads, candidate.strategy]).encode()).digest()
    at, identities = _derived(state, seed)
    event_id = next(identities)
    landing = Landing(
        mission.mission_id,
        candidate.target,
        candidate.old,
        None,
        candidate.strategy,
        accounts,
        candidate.gates,
        event_id,
    )
    stored = _stored(landing)
    number = _next_number(mission, candidate.old)
    rows: list[Row] = []
    for wp_id in state.wp_ids():
        if state.lane(wp_id) == APPROVED:
            rows.append({**_done(state, wp_id, candidate), "event_id": next(identities), "at": next(at)})
    payload = {
        "mission_slug": mission.slug,
        "mission_number": number,
        "target": candidate.target,
        "old": candidate.old,
        "strategy": candidate.strategy,
        "key": candidate.key,
        "gates": list(candidate.gates),
        "lanes": [
            {
                "lane_id": one.lane_id,
                "head": one.head,
                "wp_ids": one.wp_ids,
                "commits": len(one.commits),
                "paths": len(one.paths),
            }
            for one in accounts
        ],
        "account": f"landing-{event_id}.json",
        "account_sha256": hashlib.sha256(stored).hexdigest(),
        "actor": ACTOR,
    }
    rows.append(
        {**envelope(LANDED, payload, aggregate_id=mission.mission_id), "event_id": event_id, "timestamp": next(at)}
    )
    lines = [*known, *(encode(row).encode().removesuffix(b"\n") for row in rows)]
    meta = json.loads(git.read_blob(candidate.tip, record_path(mission, META)) or json.dumps(mission.meta))
    records = {
        FILE: b"".join(line + b"\n" for line in lines),
        META: encode_meta({**meta, "mission_number": number}),
        f"landing-{event_id}.json": stored,
    }
    entries: dict[str, trees.Entry] = {
        record_path(mission, name): trees.Entry("100644", git.write_blob(content)) for name, content in records.items()
    }
    tree = trees.with_entries(mission.repo, candidate.tip, entries)
    if candidate.strategy == "squash" and candidate.tip != candidate.old:
        parents, message = [candidate.old], git.out("log", "-1", "--format=%B", candidate.tip) + "\n"
    else:
        parents, message = [candidate.tip], f"Land {mission.slug} as mission {number}\n"
    new = trees.commit(git, tree, parents, message)
    ledger = record_path(mission, FILE)
    return _Final(new, lines, {ledger: entries[ledger]}, landing)


def _done(state: State, wp_id: str, candidate: Candidate) -> Row:
    approval = next(row for row in reversed(state.transitions(wp_id)) if row.to_lane == APPROVED)
    return transition(
        wp_id,
        APPROVED,
        DONE,
        actor=ACTOR,
        mission_id=state.mission.mission_id,
        mission_slug=state.mission.slug,
        direct=approval.row.get("execution_mode") == "direct_repo",
        force=approval.row.get("evidence") is None,
        reason="landed",
        evidence=approval.row.get("evidence"),
        policy_metadata={
            "merge_phase": "lane_integrated",
            "target_branch": candidate.target.removeprefix("refs/heads/"),
        },
    )


def _derived(state: State, seed: bytes) -> tuple[Iterator[str], Iterator[str]]:
    """Times and ids that a second attempt derives again: right after the ledger's last row, and from target and heads."""
    last = max((event.at for event in state.events if event.at), default="1970-01-01T00:00:00+00:00")
    moment = datetime.fromisoformat(last)

    def times() -> Iterator[str]:
        for number in range(1, 1 << 20):
            yield (moment + timedelta(microseconds=number)).isoformat(timespec="microseconds")

    def identities() -> Iterator[str]:
        for number in range(1 << 20):
            chance = hashlib.sha256(seed + number.to_bytes(4, "big")).digest()
            yield ulid(int(moment.timestamp() * 1000), int.from_bytes(chance[:10], "big"))

    return times(), identities()


def _stored(landing: Landing) -> bytes:
    told = asdict(landing, filter=lambda field, _: field.name != "rescued")
    return (json.dumps({"schema": "kitty.landing/1", **told}, indent=1, sort_keys=True) + "\n").encode()


def _next_number(mission: Mission, old: str) -> int:
    """The mission's number: its own if it has one, else the next free one on the target."""
    mine = mission.meta.get("mission_number")
    if isinstance(mine, int):
        return mine
    git = mission.repo.git
    found = [entry.blob for path, entry in trees.entries(git, old, MISSIONS).items() if path.endswith(f"/{META}")]
    numbers = [0]
    for blob in found:
        with contextlib.suppress(ValueError, TypeError, AttributeError):
            numbers.append(int(json.loads(git.run("cat-file", "blob", blob).stdout).get("mission_number") or 0))
    return max(numbers) + 1


def _lines_in(content: bytes | None) -> Sequence[bytes]:
    return [line for line in (content or b"").split(b"\n") if line.strip()]


# The move


def _require_unmoved(candidate: Candidate) -> None:
    git = candidate.mission.repo.git
    if git.commit_of(candidate.target) != candidate.old:
        raise KittyError(
            "MERGE_TARGET_MOVED", f"{candidate.target} moved meanwhile", "run it again: kitty accept && kitty merge"
        )
    for lane_id, head in candidate.heads:
        if git.commit_of(f"refs/heads/{candidate.mission.branch}-{lane_id}") != head:
            raise KittyError(
                "MERGE_HEAD_MOVED",
                f"{lane_id} moved meanwhile",
                "run it again: kitty accept && kitty merge",
                lane=lane_id,
            )


def _require_approved(candidate: Candidate) -> None:
    """Once more under the status lock: nobody may take an approval back between the check and the move."""
    for finding in objections(candidate):
        if finding.severity == "block":
            raise KittyError(finding.code, finding.message, finding.hint)


def _journal(candidate: Candidate, final: _Final, checkouts: Sequence[Checkout]) -> Journal:
    mission = candidate.mission
    git = mission.repo.git
    rescue: dict[str, list[str]] = {}
    for checkout in checkouts:
        own = final.own if checkout.holds_the_live_ledger else {}
        rescue[str(checkout.path)] = checkout.prepare(candidate.old, final.new, own)
    previous = git.commit_of(mission.ledger.ref)
    ledger_commit = mission.ledger.commit(
        git, final.ledger_lines, f"Landing of {mission.slug}\n", [previous] if previous else []
    )
    return Journal(
        mission.mission_id,
        str(mission.directory),
        candidate.target,
        candidate.old,
        final.new,
        mission.ledger.ref,
        ledger_commit,
        {path: list(entry) for path, entry in final.own.items()},
        [str(checkout.path) for checkout in checkouts],
        rescue,
    )


def _move_refs(repo: Repo, candidate: Candidate, journal: Journal) -> None:
    """One transaction: the target, the ledger's ref, the way back, and the promise that no lane moved."""
    previous = repo.git.commit_of(journal.ledger_ref) or trees.NOTHING
    undo = f"refs/kitty/{journal.mission_id}/undo"
    commands = ["start", f"update {journal.target} {journal.new} {journal.old}"]
    if previous != journal.ledger_commit:
        commands.append(f"update {journal.ledger_ref} {journal.ledger_commit} {previous}")
    commands.append(f"update {undo} {journal.old} {repo.git.commit_of(undo) or trees.NOTHING}")
    commands += [f"verify refs/heads/{candidate.mission.branch}-{lane_id} {head}" for lane_id, head in candidate.heads]
    commands += ["prepare", "commit"]
    try:
        repo.git.run(
            "update-ref",
            "-m",
            f"kitty merge: {candidate.mission.slug}",
            "--stdin",
            stdin="\n".join(commands).encode() + b"\n",
        )
    except KittyError as error:
        raise KittyError(
            "MERGE_TARGET_MOVED", f"the refs did not move: {error.message}", "run it again: kitty merge"
        ) from error


def _complete(repo: Repo, mission: Mission, journal: Journal, lines: Sequence[bytes]) -> list[Path]:
    """Under the status lock, after the ref moved: the live ledger, then the checkouts. Returns where ignored files were moved."""
    rescued: list[Path] = []
    _append_missing(mission, lines)
    for checkout in checkouts_of(repo, journal.target, _tokens(repo, mission)):
        if str(checkout.path) in journal.checkouts:
            rescued += [checkout.rescue(path) for path in journal.rescue.get(str(checkout.path), [])]
            checkout.finish(journal.old, journal.new)
    return rescued


def _append_missing(mission: Mission, lines: Sequence[bytes]) -> None:
    live = mission.ledger.lines()
    missing = mission.ledger.union(live, lines)[len(live) :]
    if missing:
        mission.ledger.settle(mission.ledger.write_lines(missing), [json.loads(line) for line in missing])


def _after(repo: Repo, mission: Mission) -> None:
    repo.git.run("hook", "run", "--ignore-missing", "post-merge", "--", "0", ok=range(256))
    _drop_journal(repo, mission)


# Recovery


def _recover_all(repo: Repo) -> Recovery:
    found = Recovery([], [])
    for path in sorted(_journals(repo).glob("*.json")):
        journal = Journal(**json.loads(path.read_bytes()))
        directory = Path(journal.directory)
        mission = (
            read_mission(repo, directory)
            if (directory / META).exists()
            else Mission(repo, directory, {"mission_id": journal.mission_id})
        )
        found.rescued.extend(_recover(repo, mission, journal))
        found.missions.append(journal.mission_id)
    # Locks that were taken before there was a journal.
    for tokens in _journals(repo).glob("*.tokens"):
        for token in tokens.glob("token-*"):
            for path, _ in repo.worktrees():
                if path.is_dir():
                    Checkout(repo, path, token).give_lock_back()
        tokens.rmdir()
    return found


def _recover(repo: Repo, mission: Mission, journal: Journal) -> list[Path]:
    rescued: list[Path] = []
    git = repo.git
    now = git.commit_of(journal.target)
    checkouts = [
        one for one in checkouts_of(repo, journal.target, _tokens(repo, mission)) if str(one.path) in journal.checkouts
    ]
    landed = now is not None and git.is_ancestor(journal.new, now)
    if not landed:
        _forget(repo, mission, checkouts)
        return rescued
    if now != journal.new and any(checkout.holds_lock() for checkout in checkouts):
        raise KittyError(
            "MERGE_INCOMPLETE",
            f"{journal.target} moved on from an unfinished landing",
            f"look at both: git log {journal.new[:10]}..{journal.target}; then remove {_journals(repo) / (journal.mission_id + '.json')}",
            new=journal.new,
        )
    with mission.ledger.locked():
        _append_missing(mission, mission.ledger.lines_at(git, journal.ledger_commit))
        for checkout in checkouts if now == journal.new else []:
            if checkout.holds_lock() or _is_behind(checkout, journal):
                checkout.take_lock()
                own = journal.own_entries() if checkout.holds_the_live_ledger else {}
                rescued += checkout.roll_forward(journal.old, journal.new, own)
    _after(repo, mission)
    return rescued


def _is_behind(checkout: Checkout, journal: Journal) -> bool:
    """Whether the index is still OLD's although the lock is gone: somebody removed it by hand."""
    differs = checkout.git.records("diff-index", "--cached", "-z", "--name-only", journal.new)
    return bool(differs) and not checkout.git.records("diff-index", "--cached", "-z", "--name-only", journal.old)


def _forget(repo: Repo, mission: Mission, checkouts: Sequence[Checkout]) -> None:
    for checkout in checkouts:
        checkout.give_lock_back()
    _drop_journal(repo, mission)


def _drop_journal(repo: Repo, mission: Mission) -> None:
    with contextlib.suppress(OSError):
        _tokens(repo, mission).rmdir()
    remove(_journals(repo) / f"{mission.mission_id}.json")


def _write_journal(repo: Repo, journal: Journal) -> None:
    atomic_write(_journals(repo) / f"{journal.mission_id}.json", json.dumps(journal._asdict()).encode())


def _journals(repo: Repo) -> Path:
    return repo.state / "merge"


def _tokens(repo: Repo, mission: Mission) -> Path:
    return _journals(repo) / f"{mission.mission_id}.tokens"


# The receipt


def receipt(mission: Mission, state: State) -> dict[str, Any] | None:
    """The last landing as it is printed, with `new` filled in: the commit that introduced its account. None before a landing."""
    row = state.last_other(LANDED)
    if row is None:
        return None
    payload: Mapping[str, Any] = row.row["payload"]
    git = mission.repo.git
    path = record_path(mission, payload["account"])
    content = git.read_blob(payload["target"], path)
    if content is None:
        raise KittyError(
            "MERGE_INCOMPLETE", f"{path} is not on {payload['target']}", "look with: git log --all -- " + path
        )
    if hashlib.sha256(content).hexdigest() != payload["account_sha256"]:
        raise KittyError(
            "LEDGER_DAMAGED", f"{path} is not what was landed", f"restore it: git log -- {path}", path=path
        )
    new = git.out("log", "-1", "--first-parent", "--diff-filter=A", "--format=%H", payload["target"], "--", path)
    return {**json.loads(content), "new": new}
