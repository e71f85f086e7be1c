"""A seal sees every row that is changed or taken out later, also where clones went on from one row and met again."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitty_host.ledger.emit import emit
from kitty_host.ledger.event import SEALED, Row, annotation, encode, envelope, parse, transition, ulid
from kitty_host.ledger.seal import problems, seal
from kitty_host.mission import Mission
from kitty_host.plugins import Plugins
from kitty_host.testing import Project

MISSION = "0" * 26
numbers = itertools.count(1)


def note(text: str = "x") -> bytes:
    number = next(numbers)
    made = {**annotation("WP01", {"note": text}, actor="a"), "event_id": ulid(number, number), "at": "2026"}
    return encode(made).encode().rstrip()


def sealed(lines: list[bytes]) -> bytes:
    number = next(numbers)
    made = {**seal(lines, MISSION), "event_id": ulid(number, number), "timestamp": "2026"}
    return encode(made).encode().rstrip()


def found(lines: list[bytes]) -> list[tuple[str, bool]]:
    return [(one.event_id, one.gone) for one in problems([parse(line) for line in lines])]


def event_id(line: bytes) -> str:
    return str(parse(line)["event_id"])


def test_a_seal_names_what_no_earlier_one_covers_and_counts_all() -> None:
    lines = [note(), note()]
    lines.append(sealed(lines))
    lines.append(note())
    lines.append(sealed(lines))
    first, second = (parse(lines[place])["payload"] for place in (2, 4))
    assert (set(first["rows"]), first["count"]) == ({event_id(line) for line in lines[:2]}, 2)
    assert set(second["rows"]) == {event_id(line) for line in lines[2:4]}, "the first seal is a row like any other"
    assert (second["previous"], second["count"]) == ([event_id(lines[2])], 4)
    assert found(lines) == []


@given(st.integers(0, 6), st.booleans())
def test_a_row_that_is_gone_or_changed_is_named_whichever_it_is(place: int, gone: bool) -> None:
    lines = [note() for _ in range(3)]
    lines.append(sealed(lines))
    lines += [note() for _ in range(3)]
    lines.append(sealed(lines))
    victim = lines[place]
    if gone:
        del lines[place]
    else:
        row = parse(victim)
        row["flipped"] = True
        lines[place] = encode(row).encode().rstrip()
    assert (event_id(victim), gone) in found(lines)


def test_a_seal_that_was_made_to_fit_does_not_fit_the_next_one() -> None:
    lines = [note(), note()]
    lines.append(sealed(lines))
    lines.append(sealed(lines))
    forged: Row = parse(lines[2])
    del forged["payload"]["rows"][event_id(lines[0])]
    kept = [lines[1], encode(forged).encode().rstrip(), lines[3]]
    assert (event_id(lines[2]), False) in found(kept)


def test_a_seal_whose_own_sum_is_wrong_is_named() -> None:
    lines = [note(), note()]
    made: Row = parse(sealed(lines))
    made["payload"]["count"] = 7
    assert found([*lines, encode(made).encode()]) == [(made["event_id"], False)]


@given(st.lists(st.booleans(), max_size=6), st.permutations(range(2)))
def test_clones_that_meet_again_are_sealed_together(mine_or_theirs: list[bool], order: list[int]) -> None:
    common = [note(), note()]
    common.append(sealed(common))
    clones = ([*common], [*common])
    for one in mine_or_theirs:
        clones[one].append(note())
        clones[one].append(sealed(clones[one]))
    whole = list(dict.fromkeys([*clones[order[0]], *clones[order[1]]]))
    assert found(whole) == []
    whole.append(sealed(whole))
    assert found(whole) == []
    assert parse(whole[-1])["payload"]["count"] == len(whole) - 1
    for line in whole[:-1]:
        assert (event_id(line), True) in found([one for one in whole if one != line])


def test_rows_without_an_id_and_rows_that_hold_other_ids_are_sealed_too() -> None:
    nameless = encode(envelope("Foreign", {"x": 1}, aggregate_id="x")).encode().rstrip()
    nested = encode({"event_id": ulid(1 << 40, 1), "a": {"event_id": "inner"}, "event_type": "X"}).encode().rstrip()
    lines = [nameless, nested]
    lines.append(sealed(lines))
    assert found(lines) == []
    assert len(found([nested, lines[2]])) == 1
    assert found([nameless, lines[2]]) == [(ulid(1 << 40, 1), True)]


def test_the_same_row_written_in_another_way_is_the_same_row() -> None:
    lines = [note("a"), note("b")]
    lines.append(sealed(lines))
    lines[0] = lines[0].replace(b'": ', b'":')
    assert found(lines) == []
    assert parse(sealed(lines))["payload"]["rows"].keys() == {event_id(lines[2])}


@pytest.mark.parametrize("payload", [None, [], {}, {"rows": [], "previous": [], "sha256": "", "count": 0}, "x"])
def test_a_row_that_only_calls_itself_a_seal_seals_nothing(payload: Any) -> None:
    strange = encode({"event_id": ulid(1 << 40, 2), "event_type": SEALED, "payload": payload}).encode().rstrip()
    lines = [strange, note()]
    lines.append(sealed(lines))
    assert found(lines) == []
    assert len(parse(lines[2])["payload"]["rows"]) == 2


def test_an_approval_is_sealed_with_everything_before_it(project: Project, alone: object) -> None:
    mission: Mission = project.mission(packages=[{"work_package_id": "WP01"}])
    project.record(mission, "WP01", "planned", "claimed")
    rows = emit(
        Plugins([]),
        mission,
        lambda state: [
            transition(
                "WP01",
                "claimed",
                "approved",
                actor="a",
                force=True,
                reason="r",
                mission_id=mission.mission_id,
                mission_slug=mission.slug,
            )
        ],
        sealed=True,
    )
    assert rows == mission.ledger.rows()[-2:]
    assert set(rows[1]["payload"]["rows"]) == {row["event_id"] for row in mission.ledger.rows()[:-1]}
    assert rows[0]["event_id"] < rows[1]["event_id"]
    assert rows[0]["at"] < rows[1]["timestamp"]
    assert found(mission.ledger.lines()) == []
