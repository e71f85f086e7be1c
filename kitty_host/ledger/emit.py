"""The one way a change of state is made: plan, check, append, tell.

A plan is a function of the state, so that it can be asked again when somebody else was faster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from kitty_host import claims
from kitty_host.api import Finding, KittyError
from kitty_host.ledger.event import (
    Annotation,
    Other,
    Row,
    Transition,
    decode,
    encode,
    event_id_of,
    is_ulid,
    new_id,
    now,
)
from kitty_host.ledger.machine import check
from kitty_host.ledger.reduce import reduce
from kitty_host.state import State

if TYPE_CHECKING:
    from kitty_host.mission import Mission
    from kitty_host.plugins import Plugins

Plan = Callable[[State], Sequence[Row]]


def emit(plugins: Plugins, mission: Mission, plan: Plan, *, sealed: bool = False) -> list[Row]:
    """Append the rows that `plan` makes of the present state, and return them with ids and times.

    They are checked together and written as one; only a crash inside that write can leave the first of them without the others, and then
    none was acknowledged. `sealed` adds a seal of all that is known then, these rows included. Rows about claims that were left by commands
    that were killed are written before them, and not returned; `plan` sees the state that they leave.

    Guards of plugins run before the status lock is taken, the host's own under it. Where the ledger moved in between, everything is asked
    once again; a second move gives `LOCK_HELD`. Errors: `TRANSITION_REFUSED` and whatever a guard or `plan` refuses with.
    """
    guarded = plugins.implements("kitty_emit_check")
    seen = None
    with claims.left(mission) as left:
        for _ in range(2):
            if guarded:
                state = State.load(mission)
                then, mended = _with_claims_mended(state, left)
                _refuse(_foreign_findings(plugins, state, [*mended, *plan(then)]))
                seen = state.last_event_id
            with mission.ledger.locked():
                state = State.load(mission)
                if guarded and state.last_event_id != seen:
                    continue
                then, mended = _with_claims_mended(state, left)
                rows = stamp(then, plan(then))
                if not rows:
                    return []
                _refuse(_findings(state, [*mended, *rows]))
                rows = _in_force(mission, state, [*mended, *rows])
                if sealed:
                    rows += stamp(state, [_seal(mission, rows)], after=rows)
                descriptor = mission.ledger.write(rows)
            mission.ledger.settle(descriptor, rows)
            claims.told(mission, left)
            announce(plugins, mission, rows)
            return rows[len(mended) :]
    raise KittyError("LOCK_HELD", f"the ledger of {mission.slug} moved twice while guards ran", "run it again")


def foreseen(mission: Mission) -> State:
    """The state that a plan would see now."""
    with claims.left(mission) as left:
        return _with_claims_mended(State.load(mission), left)[0]


def _with_claims_mended(state: State, left: list[str]) -> tuple[State, list[Row]]:
    """The state as it is once the ledger has been told of claims that were left, and the rows that tell it."""
    mended = stamp(state, claims.rows_about(state, left)) if left else []
    if not mended:
        return state, []
    found = reduce([*state.mission.ledger.events(), *map(decode, mended)])
    return State(state.mission, found, agent=state.agent, result=state.result), mended


def announce(plugins: Plugins, mission: Mission, rows: Iterable[Row]) -> None:
    """Tell observers about rows that are on disk. Their faults are noted and change nothing."""
    for row in rows:
        plugins.observe("kitty_emitted", event=row, mission=mission)


def _seal(mission: Mission, rows: Sequence[Row]) -> Row:
    from kitty_host.ledger.seal import seal

    return seal([*mission.ledger.lines(), *(encode(row).encode() for row in rows)], mission.mission_id)


def stamp(state: State, rows: Sequence[Row], *, after: Sequence[Row] = ()) -> list[Row]:
    """Rows with ids and times; those that have them keep them. `after` are stamped rows that come before them.

    No time is earlier than the last one of the same work package, and ids ascend.
    """
    # The last one of each work package is the latest: these rows were stamped here.
    last = {str(row.get("wp_id") or ""): _time(row) for row in after}
    ever = max([state.snapshot.latest(), *(_time(row) for row in after)])
    known = (state.snapshot.last_row_id, *(event_id_of(row) for row in after))
    top = max([state.snapshot.top, *filter(is_ulid, known)])
    stamped: list[Row] = []
    for row in rows:
        key = "timestamp" if "event_type" in row else "at"
        about = str(row.get("wp_id") or "")
        # A row about the mission says something about all that was before.
        floor = max(last.get(about, ""), state.snapshot.latest(about)) if about else ever
        at = str(row.get(key) or now(floor))
        last[about], ever = at, max(ever, at)
        made = {**row, "event_id": row.get("event_id") or new_id(top), key: at}
        top = max(top, made["event_id"])
        stamped.append(made)
    return stamped


def _time(row: Row) -> str:
    return str(row.get("timestamp") or row.get("at") or "")


def _in_force(mission: Mission, state: State, rows: list[Row]) -> list[Row]:
    """The rows, and those that it takes besides so that what they say is so afterwards.

    A departure from `approved` without an approval of its own (two clones reopened one) waits for the next approval and is counted behind
    it, by the rules of spec-kitty's reducer; then that approval is said once more, by force.
    """
    told = {str(row["wp_id"]): row for row in rows if "to_lane" in row}
    tangled = [wp_id for wp_id in told if (known := state.package_state(wp_id)) is not None and known.tangled]
    while tangled:
        found = reduce([*mission.ledger.events(), *map(decode, rows)])
        swallowed = [wp_id for wp_id in tangled if found.packages[wp_id].lane != told[wp_id]["to_lane"]]
        again = [
            {**told[wp_id], "from_lane": found.packages[wp_id].lane, "event_id": None, "at": None, "force": True}
            for wp_id in swallowed
        ]
        if not again:
            break
        why = {"reason": "an earlier departure was counted behind the row before"}
        rows = [*rows, *stamp(state, [{**row, **why} for row in again], after=rows)]
    return rows


def _findings(state: State, rows: Sequence[Row]) -> list[Finding]:
    """The host's own guards, each row judged on the state that the rows before it leave."""
    findings: list[Finding] = []
    lanes: dict[str, str] = {}
    packages = {package.wp_id: package for package in state.packages}
    for row in rows:
        event = decode(row)
        if not isinstance(event, Transition):
            continue
        in_force = lanes.get(event.wp_id, state.lane(event.wp_id))
        if event.from_lane != in_force:
            findings.append(
                Finding(
                    "TRANSITION_REFUSED",
                    f"{event.wp_id} is {in_force}, not {event.from_lane}",
                    f"look first: kitty status --mission {state.mission.slug}",
                )
            )
        package = packages.get(event.wp_id)
        told = row.get("policy_metadata") or {}
        findings += check(
            row,
            subtasks_open=state.open_subtasks(package) if package else (),
            has_evidence=bool(told.get("evidence")),
        )
        lanes[event.wp_id] = event.to_lane
    return findings


def _foreign_findings(plugins: Plugins, state: State, rows: Sequence[Row]) -> list[Finding]:
    found: list[Finding] = []
    for row in stamp(state, rows):
        if not isinstance(decode(row), Annotation | Other):
            found += plugins.findings("kitty_emit_check", transition=row, state=state)
    return found


def _refuse(findings: Sequence[Finding]) -> None:
    blocking = [finding for finding in findings if finding.severity == "block"]
    if blocking:
        first = blocking[0]
        details: dict[str, Any] = {"findings": [finding._asdict() for finding in blocking]}
        raise KittyError(first.code, first.message, first.hint, **details)
