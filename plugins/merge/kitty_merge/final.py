"""The commit that lands: the candidate plus the mission's own records, which are the ledger, the number and the account.

The same ledger and the same candidate give the same tree, so that a second attempt lands what the first one would have landed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from attrs import asdict

from kitty_host.ledger.event import LANDED, Row, encode, envelope, transition, ulid
from kitty_host.ledger.log import FILE
from kitty_host.ledger.machine import APPROVED, DONE
from kitty_host.ledger.seal import seal
from kitty_host.mission import META, Mission, encode_meta
from kitty_host.records import Candidate, Landing, LaneAccount
from kitty_host.repo import MISSIONS
from kitty_host.state import State
from kitty_merge import trees
from kitty_merge.candidate import SQUASH
from kitty_merge.engine import engine_for
from kitty_merge.own_records import record_path

ACTOR = "kitty:merge"


class Final(NamedTuple):
    """The commit that lands, and what it holds of kitty's own."""

    new: str
    ledger_lines: list[bytes]
    own: dict[str, trees.Entry]
    landing: Landing


def build_final(candidate: Candidate, accounts: tuple[LaneAccount, ...]) -> Final:
    """Build the commit that lands. Call it under the status lock: it holds the ledger as it is now. Errors: `COMMIT_REFUSED`."""
    mission = candidate.mission
    git = mission.repo.git
    state = State.load(mission)
    times, identities = _derived(state, candidate)
    approved = tuple(wp_id for wp_id in state.wp_ids() if state.lane(wp_id) == APPROVED)
    landing = Landing(
        mission.mission_id,
        candidate.target,
        candidate.old,
        None,
        candidate.strategy,
        accounts,
        candidate.gates,
        next(identities),
        approved,
    )
    stored = _stored(landing)
    meta = json.loads(git.read_blob(candidate.tip, record_path(mission, META)) or json.dumps(mission.meta))
    number = _next_number(mission, meta, candidate.old)
    rows = [{**_done(state, wp_id, candidate), "event_id": next(identities), "at": next(times)} for wp_id in approved]
    rows.append({**_landed(candidate, landing, stored, number), "event_id": landing.event_id, "timestamp": next(times)})
    lines = [*_known_lines(candidate), *map(_line, rows)]
    lines.append(_line({**seal(lines, mission.mission_id), "event_id": next(identities), "timestamp": next(times)}))
    entries: dict[str, trees.Entry] = {
        record_path(mission, name): trees.Entry("100644", git.objects.add("blob", content))
        for name, content in (
            (FILE, b"".join(line + b"\n" for line in lines)),
            (META, encode_meta({**meta, "mission_number": number})),
            (_account_file(landing), stored),
        )
    }
    new = _commit(candidate, trees.added_with_entries(mission.repo, candidate.tip, entries), number)
    git.objects.flush()
    ledger = record_path(mission, FILE)
    return Final(new, lines, {ledger: entries[ledger]}, landing)


def _commit(candidate: Candidate, tree: str, number: int) -> str:
    repo = candidate.mission.repo
    if candidate.strategy == SQUASH and candidate.tip != candidate.old:
        # Hooks have seen this message when the candidate was squashed.
        message = repo.git.out("log", "-1", "--format=%B", candidate.tip).rstrip("\n")
        return repo.git.objects.commit(tree, [candidate.old], message)
    with engine_for(repo) as engine:
        return engine.commit(tree, candidate.tip, f"Land {candidate.mission.slug} as mission {number}\n")


def _known_lines(candidate: Candidate) -> list[bytes]:
    """The union of all copies of the ledger, the live one first: it is only ever appended to."""
    ledger, git = candidate.mission.ledger, candidate.mission.repo.git
    in_candidate = git.read_blob(candidate.tip, record_path(candidate.mission, FILE)) or b""
    lines = [line for line in in_candidate.split(b"\n") if line.strip()]
    return ledger.union(ledger.lines(), lines, ledger.lines_at(git, ledger.ref))


def _landed(candidate: Candidate, landing: Landing, stored: bytes, number: int) -> Row:
    """The row that says so."""
    lanes = [
        {
            "lane_id": one.lane_id,
            "head": one.head,
            "wp_ids": one.wp_ids,
            "commits": len(one.commits),
            "paths": len(one.paths),
        }
        for one in landing.lanes
    ]
    payload = {
        "mission_slug": candidate.mission.slug,
        "mission_number": number,
        "target": candidate.target,
        "old": candidate.old,
        "strategy": candidate.strategy,
        "key": candidate.key,
        "gates": list(candidate.gates),
        "lanes": lanes,
        "account": _account_file(landing),
        "account_sha256": hashlib.sha256(stored).hexdigest(),
        "actor": ACTOR,
    }
    return envelope(LANDED, payload, aggregate_id=landing.mission_id)


def _line(row: Row) -> bytes:
    return encode(row).encode().removesuffix(b"\n")


def _account_file(landing: Landing) -> str:
    return f"landing-{landing.event_id}.json"


def _done(state: State, wp_id: str, candidate: Candidate) -> Row:
    approval = state.snapshot.packages[wp_id].entered[APPROVED]
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


def _derived(state: State, candidate: Candidate) -> tuple[Iterator[str], Iterator[str]]:
    """Times and ids that a second attempt derives again: right after the ledger's last row, and from target and heads."""
    seed = hashlib.sha256(json.dumps([candidate.old, candidate.heads, candidate.strategy]).encode()).digest()
    last = state.snapshot.latest() or "1970-01-01T00:00:00+00:00"
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
    return f"{_one_by_one({'schema': 'kitty.landing/1', **told}, ('lanes', 'paths'))}\n".encode()


def _one_by_one(told: Mapping[str, Any], listed: tuple[str, ...], indent: str = "") -> str:
    """A JSON object with a line for each key, and in the list that is named first an object for each item, and so on."""

    def value(key: str) -> str:
        if key not in listed:
            return json.dumps(told[key], sort_keys=True)
        items = (
            _one_by_one(one, listed[1:], f"{indent}  ")
            if key == listed[0] and listed[1:]
            else json.dumps(one, sort_keys=True)
            for one in told[key]
        )
        return "[" + ",".join(f"\n{indent}  {item}" for item in items) + f"\n{indent} ]" if told[key] else "[]"

    return "{" + ",".join(f"\n{indent} {json.dumps(key)}: {value(key)}" for key in sorted(told)) + f"\n{indent}" + "}"


def _next_number(mission: Mission, meta: dict[str, Any], old: str) -> int:
    """The mission's number: its own if it has one, else the next free one on the target."""
    mine = meta.get("mission_number")
    if isinstance(mine, int):
        return mine
    repo, numbers = mission.repo, [0]
    for name, entry in trees.listed(repo, old, MISSIONS).items():
        # A directory; its name may have any character, a newline too, and an id has none.
        described = trees.listed(repo, old, f"{MISSIONS}/{name}").get(META) if entry.mode == trees.TREE else None
        with contextlib.suppress(ValueError, TypeError, AttributeError):
            content = repo.git.objects.read(described.blob) if described else None
            numbers.append(int(json.loads(content or b"").get("mission_number") or 0))
    return max(numbers) + 1
