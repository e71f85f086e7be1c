"""Who may do what, and until when, to the second: what the rooms of accounts, tokens, codes and sessions say of the same rows.

The flows around them, and that every call asks here, are tested with real hubs. Here nothing but a database is needed, so that each edge
can be looked at from both sides: that one second later it is over, and that the row of a neighbour stays as it was.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, insert, select, text

from kitty_host.api import KittyError
from kitty_sync.hub import accounts, device, schema, signin, tokens
from kitty_sync.hub.accounts import Member
from kitty_sync.hub.audit import By
from kitty_sync.hub.error import HubError

ADA, EVE = "ada@example.org", "eve@example.org"
NOW = 1_000_000.0
BY = By("root@example.org", "192.0.2.1")
MINUTE, HOUR, DAY = 60, 3600, 24 * 3600


@pytest.fixture(scope="module")
def tables() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        connection.execute(text("PRAGMA foreign_keys = ON"))
        schema.metadata.create_all(connection)
        connection.commit()
        yield connection
    engine.dispose()


@pytest.fixture
def database(tables: Connection) -> Iterator[Connection]:
    yield tables
    tables.rollback()


@pytest.fixture
def ada(database: Connection) -> Member:
    return accounts.add(database, ADA, "one", "writer", by=BY, now=NOW)


@pytest.fixture
def others(database: Connection, ada: Member) -> list[Member]:
    """Somebody else in the same team, the same one in another team, and somebody who shares neither."""
    return [
        accounts.add(database, *one, "writer", by=BY, now=NOW) for one in ((EVE, "one"), (ADA, "two"), (EVE, "two"))
    ]


def noted(database: Connection, since: int = 0) -> list[dict[str, Any]]:
    """The entries that were added."""
    rows = database.execute(select(schema.audit).order_by(schema.audit.c.id)).mappings()
    return [{key: value for key, value in row.items() if key != "id"} for row in rows][since:]


def entry(
    action: str, now: float = NOW, by: By = BY, *, whom: str = "", team_id: str | None = None, what: str = ""
) -> Any:
    told = {"at": now, "action": action, "who": by.who, "address": by.where}
    return {**told, "whom": whom, "team_id": team_id, "what": what}


def rows(database: Connection, table: Any) -> list[Any]:
    return [dict(row) for row in database.execute(select(table)).mappings()]


# Accounts


@pytest.mark.parametrize(("role", "may"), [("owner", True), ("writer", True), ("reader", False)])
def test_owners_and_writers_add_events(database: Connection, role: str, may: bool) -> None:
    who = accounts.add(database, ADA, "one", role)
    assert who.may_write is may
    assert who.shown() == {
        "user": {"id": who.user_id, "email": ADA, "name": "ada"},
        "team": {"id": who.team_id, "slug": "one", "name": "one"},
        "role": role,
    }


def test_there_are_three_roles() -> None:
    assert accounts.ROLES == ("owner", "writer", "reader")


def test_a_new_user_of_a_new_team_is_noted_and_a_role_that_stays_is_not(database: Connection) -> None:
    who = accounts.add(database, "Ada@Example.org", "one", "writer", by=BY, now=NOW)
    assert who.email == ADA
    assert noted(database) == [
        entry("user.made", whom=ADA),
        entry("team.made", team_id=who.team_id, what="one"),
        entry("member.added", whom=ADA, team_id=who.team_id, what="writer"),
    ]
    assert accounts.add(database, ADA, "one", "writer", by=BY, now=NOW) == who
    assert len(noted(database)) == 3
    assert [one["last_seq"] for one in rows(database, schema.teams)] == [0]


def test_another_role_is_of_this_one_in_this_team_only(database: Connection, ada: Member, others: list[Member]) -> None:
    before = len(noted(database))
    accounts.add(database, ADA, "one", "reader", by=BY, now=NOW + 1)
    assert noted(database, before) == [entry("member.role", NOW + 1, whom=ADA, team_id=ada.team_id, what="reader")]
    roles = {(one.email, one.team_slug): one.role for one in accounts.everybody(database)}
    assert roles == {(ADA, "one"): "reader", (EVE, "one"): "writer", (ADA, "two"): "writer", (EVE, "two"): "writer"}


def test_what_is_done_without_a_time_is_done_now(database: Connection) -> None:
    before = time.time()
    accounts.add(database, ADA, "one", "writer")
    assert all(before <= one["at"] <= time.time() for one in noted(database))


@pytest.mark.parametrize(
    "email", ["ada", "@example.org", "ada@", "a b@example.org", "a@b@c", "a\0@example.org", "a" * 65 + "@b"]
)
def test_what_is_no_address_is_nobody(database: Connection, email: str) -> None:
    with pytest.raises(KittyError, match="ACCOUNT_INVALID"):
        accounts.add(database, email, "one", "writer")
    assert not accounts.everybody(database)


@pytest.mark.parametrize("slug", ["", "One", "-one", "one two", "o" * 64, "one\n"])
def test_what_is_no_name_of_a_team_is_none(database: Connection, slug: str) -> None:
    with pytest.raises(KittyError, match="ACCOUNT_INVALID"):
        accounts.add(database, ADA, slug, "writer")
    assert not accounts.exists(database, slug)


def test_a_team_is_found_by_its_name(database: Connection, ada: Member, others: list[Member]) -> None:
    assert accounts.team_of(database, "one") == ada.team_id
    assert accounts.exists(database, "two")
    assert not accounts.exists(database, "three")
    with pytest.raises(KittyError, match="TEAM_UNKNOWN"):
        accounts.team_of(database, "three")


def test_members_are_those_of_a_team_or_of_all(database: Connection, ada: Member, others: list[Member]) -> None:
    eve, ada_two, eve_two = others
    assert accounts.everybody(database, "one") == [ada, eve]
    assert {one.user_id for one in accounts.everybody(database)} == {ada.user_id, eve.user_id}
    assert accounts.memberships(database, "ADA@example.org") == [ada, ada_two]
    assert accounts.memberships(database, EVE, "two") == [eve_two]
    assert accounts.memberships(database, "nobody@example.org") == []
    assert accounts.member(database, ada.user_id, eve_two.team_id) == ada_two
    assert accounts.member(database, ada.user_id, "no team") is None
    assert (accounts.email_of(database, eve.user_id), accounts.email_of(database, "nobody")) == (EVE, "")


def test_who_is_taken_out_leaves_nothing_behind_and_takes_nothing_of_others(
    database: Connection, ada: Member, others: list[Member]
) -> None:
    for number, one in enumerate([ada, *others]):
        tokens.open_session(database, one.user_id, one.team_id, NOW)
        signin.begin(database, one.user_id, one.team_id, BY, NOW)
        signin.make_link(database, one, NOW, BY)
        grant = device.begin(database, NOW, address=str(number))
        device.decide(database, grant.user_code, one, NOW, approve=True)
    tables = (schema.sessions, schema.visits, schema.links, schema.grants, schema.members)
    before = {table.name: rows(database, table) for table in tables}
    count = len(noted(database))
    accounts.remove(database, ada, NOW + 5, BY)
    assert noted(database, count) == [entry("member.removed", NOW + 5, whom=ADA, team_id=ada.team_id)]
    for table in tables:
        theirs = [one for one in before[table.name] if (one["user_id"], one["team_id"]) != (ada.user_id, ada.team_id)]
        assert len(theirs) == 3
        after = rows(database, table)
        assert [one for one in after if one in theirs] == theirs
        ended = [one for one in after if one not in theirs]
        assert [one["revoked_at"] for one in ended] == ([NOW + 5] if table in tables[:2] else [])


def test_a_session_that_was_over_stays_over_since_then(database: Connection, ada: Member) -> None:
    pair = tokens.open_session(database, ada.user_id, ada.team_id, NOW)
    tokens.revoke(database, pair.access_token, NOW + 1)
    cookie = signin.begin(database, ada.user_id, ada.team_id, BY, NOW)
    visit = signin.known(database, cookie, NOW)
    assert visit is not None
    signin.end(database, visit.id, NOW + 1, BY)
    accounts.remove(database, ada, NOW + 5)
    assert [one["revoked_at"] for one in rows(database, schema.sessions) + rows(database, schema.visits)] == [
        NOW + 1
    ] * 2


# Tokens


def test_a_secret_has_256_bits_and_says_what_it_is() -> None:
    made = {tokens.secret("kha_") for _ in range(10)}
    assert len(made) == 10
    assert all(one.startswith("kha_") and len(one) == len("kha_") + 43 for one in made)


def test_an_access_token_says_whose_it_is_for_fifteen_minutes(
    database: Connection, ada: Member, others: list[Member]
) -> None:
    pair = tokens.open_session(database, ada.user_id, ada.team_id, NOW, BY)
    tokens.open_session(database, others[0].user_id, others[0].team_id, NOW)
    assert tokens.holder(database, pair.access_token, NOW + 15 * MINUTE - 1) == ada
    assert tokens.holder(database, pair.access_token, NOW + 15 * MINUTE) is None
    assert tokens.holder(database, pair.refresh_token, NOW) is None
    assert tokens.holder(database, "kha_other", NOW) is None
    assert entry("session.opened", whom=ADA, team_id=ada.team_id, what=pair.session_id) in noted(database)


def test_a_token_of_a_session_that_was_ended_or_of_nobody_in_the_team_is_none(
    database: Connection, ada: Member
) -> None:
    pair = tokens.open_session(database, ada.user_id, ada.team_id, NOW)
    tokens.revoke(database, pair.access_token, NOW)
    assert tokens.holder(database, pair.access_token, NOW) is None
    assert tokens.rotate(database, pair.refresh_token, NOW) is None
    pair = tokens.open_session(database, ada.user_id, ada.team_id, NOW)
    database.execute(schema.members.delete())
    assert tokens.holder(database, pair.access_token, NOW) is None
    assert tokens.rotate(database, pair.refresh_token, NOW) is None


def test_only_access_tokens_of_members_of_the_team_are_held_there(
    database: Connection, ada: Member, others: list[Member]
) -> None:
    eve, ada_two, _ = others
    pairs = [tokens.open_session(database, one.user_id, one.team_id, NOW) for one in (ada, eve, ada_two)]
    asked = {tokens.digest_of(token) for pair in pairs for token in (pair.access_token, pair.refresh_token)}
    mine, eves, _ = (tokens.digest_of(pair.access_token) for pair in pairs)
    unasked = asked - {eves}

    def held(now: float = NOW, digests: set[str] = asked) -> set[str]:
        return tokens.held(database, ada.team_id, digests, now)

    assert held() == held(NOW + 15 * MINUTE - 1) == {mine, eves}
    assert held(digests=unasked) == {mine}
    assert held(NOW + 15 * MINUTE) == set()
    accounts.remove(database, ada_two, NOW)
    assert held() == {mine, eves}
    database.execute(schema.members.delete().where(schema.members.c.user_id == ada.user_id))
    assert held() == {eves}
    tokens.revoke(database, pairs[1].access_token, NOW)
    assert held() == set()


def test_a_refresh_token_is_taken_for_ninety_days(database: Connection, ada: Member) -> None:
    pair = tokens.open_session(database, ada.user_id, ada.team_id, NOW)
    assert tokens.rotate(database, pair.access_token, NOW) is None
    assert tokens.rotate(database, pair.refresh_token, NOW + 90 * DAY) is None
    found = tokens.rotate(database, pair.refresh_token, NOW + 90 * DAY - 1)
    assert found is not None
    assert found.session_id == pair.session_id
    assert tokens.holder(database, found.access_token, NOW + 90 * DAY) == ada


def test_a_refresh_token_that_was_used_is_taken_for_thirty_seconds_from_its_first_use(
    database: Connection, ada: Member, others: list[Member]
) -> None:
    pair = tokens.open_session(database, ada.user_id, ada.team_id, NOW)
    other = tokens.open_session(database, others[0].user_id, others[0].team_id, NOW)
    for later in (10, 25, 40):
        assert tokens.rotate(database, pair.refresh_token, NOW + later, BY) is not None
    before = len(noted(database))
    assert tokens.rotate(database, pair.refresh_token, NOW + 41, BY) is None
    said = {"whom": ADA, "team_id": ada.team_id, "what": pair.session_id}
    assert noted(database, before) == [entry("session.stolen", NOW + 41, **said)]
    assert tokens.holder(database, pair.access_token, NOW + 41) is None
    assert tokens.rotate(database, pair.refresh_token, NOW + 41, BY) is None
    assert tokens.rotate(database, other.refresh_token, NOW + 41) is not None


def test_a_session_that_is_refreshed_was_used_then_and_forgets_its_tokens_that_are_over(
    database: Connection, ada: Member, others: list[Member]
) -> None:
    pair = tokens.open_session(database, ada.user_id, ada.team_id, NOW)
    other = tokens.open_session(database, others[0].user_id, others[0].team_id, NOW)
    early = tokens.rotate(database, pair.refresh_token, NOW + MINUTE)
    late = tokens.rotate(database, pair.refresh_token, NOW + MINUTE + 30)
    assert early is not None
    assert late is not None
    last = tokens.rotate(database, late.refresh_token, NOW + 16 * MINUTE)
    assert last is not None
    kept = {one["digest"] for one in rows(database, schema.tokens)}
    assert tokens.digest_of(pair.access_token) not in kept
    assert tokens.digest_of(early.access_token) not in kept
    wanted = [late.access_token, last.access_token, *(one.refresh_token for one in (pair, early, late, last))]
    assert kept == {tokens.digest_of(one) for one in [*wanted, other.access_token, other.refresh_token]}
    used = {one["id"]: one["used_at"] for one in rows(database, schema.sessions)}
    assert used == {pair.session_id: NOW + 16 * MINUTE, other.session_id: NOW}


def test_what_is_over_is_forgotten_when_somebody_begins_and_nothing_else_is(
    database: Connection, ada: Member, others: list[Member]
) -> None:
    old = tokens.open_session(database, ada.user_id, ada.team_id, NOW)
    young = tokens.open_session(database, others[0].user_id, others[0].team_id, NOW + 1)

    def passes(*those: tuple[str, str, float]) -> None:
        names = ("digest", "session_id", "expires_at")
        database.execute(insert(schema.passes), [dict(zip(names, one, strict=True)) for one in those])

    passes(("over", young.session_id, NOW + 15 * MINUTE), ("good", young.session_id, NOW + 15 * MINUTE + 1))
    new = tokens.open_session(database, ada.user_id, ada.team_id, NOW + 15 * MINUTE)
    assert [one["digest"] for one in rows(database, schema.passes)] == ["good"]
    refreshing = [old.refresh_token, young.refresh_token, new.refresh_token]
    assert {one["digest"] for one in rows(database, schema.tokens)} == {
        tokens.digest_of(one) for one in [*refreshing, young.access_token, new.access_token]
    }
    passes(("dead", old.session_id, NOW + 100 * DAY))
    database.execute(schema.tokens.update().values(expires_at=NOW + 100 * DAY))
    tokens.open_session(database, ada.user_id, ada.team_id, NOW + 90 * DAY)
    assert old.session_id not in {one["id"] for one in rows(database, schema.sessions)}
    assert len(rows(database, schema.sessions)) == 3
    assert [one["digest"] for one in rows(database, schema.passes)] == []
    assert len(rows(database, schema.tokens)) == 2 + 2 + 2


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
def test_a_session_is_ended_once_by_either_of_its_tokens(
    database: Connection, ada: Member, others: list[Member], kind: str
) -> None:
    pair = tokens.open_session(database, ada.user_id, ada.team_id, NOW)
    other = tokens.open_session(database, others[0].user_id, others[0].team_id, NOW)
    before = len(noted(database))
    for later in (1, 2):
        tokens.revoke(database, getattr(pair, kind), NOW + later, BY)
    tokens.revoke(database, "kha_unknown", NOW, BY)
    said = {"whom": ADA, "team_id": ada.team_id, "what": pair.session_id}
    assert noted(database, before) == [entry("session.ended", NOW + 1, **said)]
    ended = {one["id"]: one["revoked_at"] for one in rows(database, schema.sessions)}
    assert ended == {pair.session_id: NOW + 1, other.session_id: None}


def test_whether_a_session_could_be_ended_is_said(database: Connection, ada: Member) -> None:
    pair = tokens.open_session(database, ada.user_id, ada.team_id, NOW)
    assert tokens.end(database, pair.session_id, NOW, BY) is True
    assert tokens.end(database, pair.session_id, NOW, BY) is False
    assert tokens.end(database, "none", NOW, BY) is False


def test_the_sessions_of_a_team_are_those_that_are_not_over(
    database: Connection, ada: Member, others: list[Member]
) -> None:
    eve, ada_two, _ = others
    second = tokens.open_session(database, eve.user_id, eve.team_id, NOW + 1)
    first = tokens.open_session(database, ada.user_id, ada.team_id, NOW)
    tokens.open_session(database, ada_two.user_id, ada_two.team_id, NOW)
    ended = tokens.open_session(database, ada.user_id, ada.team_id, NOW)
    tokens.revoke(database, ended.access_token, NOW)

    def ids(now: float = NOW, user_id: str | None = None) -> list[str]:
        return [one["id"] for one in tokens.alive(database, ada.team_id, now, user_id)]

    assert ids() == ids(NOW + 90 * DAY - 1) == [first.session_id, second.session_id]
    assert ids(NOW + 90 * DAY) == [second.session_id]
    assert ids(user_id=ada.user_id) == [first.session_id]
    shown = tokens.alive(database, ada.team_id, NOW)[0]
    told = {"id": first.session_id, "email": ADA, "created_at": NOW, "used_at": NOW}
    assert shown == {**told, "address": "", "kind": "program"}
    database.execute(schema.members.delete().where(schema.members.c.team_id != ada.team_id))
    assert ids() == [first.session_id, second.session_id]
    database.execute(schema.members.delete().where(schema.members.c.user_id == eve.user_id))
    assert ids() == [first.session_id]


# Codes


def test_the_codes_of_a_device_are_random_and_without_vowels(database: Connection) -> None:
    grants = [device.begin(database, NOW, address=str(number)) for number in range(20)]
    assert len({one.user_code for one in grants} | {one.device_code for one in grants}) == 40
    for one in grants:
        first, second = one.user_code.split("-")
        assert (len(first), len(second)) == (4, 4)
        assert set(first + second) <= set("BCDFGHJKLMNPQRSTVWXZ")


@pytest.mark.parametrize("kind", ["program", "browser"])
def test_who_waits_is_shown_for_ten_minutes_to_who_has_the_code(database: Connection, kind: str) -> None:
    grant = device.begin(database, NOW, kind=kind, address="192.0.2.7")
    device.begin(database, NOW, address="192.0.2.8")
    typed = grant.user_code.lower().replace("-", " ")
    shown = device.asking(database, typed, NOW + 10 * MINUTE - 1)
    assert shown == device.Asking(kind, "192.0.2.7", NOW)
    assert device.asking(database, typed, NOW + 10 * MINUTE) is None
    assert device.asking(database, "BCDF-GHJK", NOW) is None


@pytest.mark.parametrize(("approve", "state"), [(True, "approved"), (False, "denied")])
def test_a_code_is_decided_once_by_somebody_who_is_noted(
    database: Connection, ada: Member, others: list[Member], approve: bool, state: str
) -> None:
    grant = device.begin(database, NOW, address="192.0.2.7")
    other = device.begin(database, NOW, address="192.0.2.8")
    before = len(noted(database))
    device.decide(database, grant.user_code, ada, NOW, approve=approve, by=BY)
    assert noted(database, before) == [entry(f"program.{state}", whom=ADA, team_id=ada.team_id, what="192.0.2.7")]
    for again in (True, False):
        with pytest.raises(KittyError, match="USER_CODE_UNKNOWN"):
            device.decide(database, grant.user_code, others[0], NOW, approve=again)
    assert len(noted(database)) == before + 1
    assert device.asking(database, grant.user_code, NOW) is None
    assert device.asking(database, other.user_code, NOW) is not None
    with pytest.raises(KittyError, match="USER_CODE_UNKNOWN"):
        device.decide(database, other.user_code, ada, NOW + 10 * MINUTE, approve=True)


def test_a_code_lets_in_who_decided_about_it_and_once(database: Connection, ada: Member, others: list[Member]) -> None:
    grant = device.begin(database, NOW)
    other = device.begin(database, NOW)
    device.decide(database, other.user_code, others[0], NOW, approve=True)
    device.decide(database, grant.user_code, ada, NOW, approve=True)
    pair = device.poll(database, grant.device_code, NOW + 10 * MINUTE - 1, BY)
    assert isinstance(pair, tokens.Pair)
    assert tokens.holder(database, pair.access_token, NOW + 10 * MINUTE) == ada
    assert device.poll(database, grant.device_code, NOW) == "expired_token"
    assert device.poll(database, other.device_code, NOW + 10 * MINUTE) == "expired_token"
    assert device.poll(database, "khd_unknown", NOW) == "expired_token"


def test_a_code_that_was_denied_or_whose_approver_left_lets_nobody_in(database: Connection, ada: Member) -> None:
    denied, left = device.begin(database, NOW), device.begin(database, NOW)
    device.decide(database, denied.user_code, ada, NOW, approve=False)
    device.decide(database, left.user_code, ada, NOW, approve=True)
    assert device.poll(database, denied.device_code, NOW) == "access_denied"
    database.execute(schema.members.delete())
    assert device.poll(database, left.device_code, NOW) == "access_denied"
    assert not rows(database, schema.sessions)


def test_the_code_of_a_browser_is_none_of_a_program(database: Connection, ada: Member) -> None:
    grant = device.begin(database, NOW, kind=device.BROWSER)
    device.decide(database, grant.user_code, ada, NOW, approve=True)
    assert device.poll(database, grant.device_code, NOW) == "expired_token"
    cookie, error = signin.take_code(database, grant.device_code, BY, NOW)
    assert error == ""
    visit = signin.known(database, cookie, NOW)
    assert visit is not None
    assert visit.member == ada
    assert signin.take_code(database, grant.device_code, BY, NOW) == ("", "expired_token")


def test_who_asks_before_two_seconds_are_over_waits_five_more_each_time(database: Connection) -> None:
    """Of this one only; who asks in time waits no longer."""
    grant, other = device.begin(database, NOW, address="a"), device.begin(database, NOW, address="b")
    said = [
        (later, device.poll(database, grant.device_code, NOW + later))
        for later in (0, 2, 3.9, 10.8, 12, 24, 36)  # after 3.9 it is 7 seconds, after 10.8 it is 12
    ]
    waits, slower = "authorization_pending", "slow_down"
    assert said == [(0, waits), (2, waits), (3.9, slower), (10.8, slower), (12, slower), (24, slower), (36, slower)]
    assert device.poll(database, grant.device_code, NOW + 36 + 27) == waits
    assert [device.poll(database, other.device_code, NOW + later) for later in (0, 2)] == [waits, waits]


def wait(database: Connection, count: int, place: str, now: float = NOW) -> None:
    """So many who wait, of a place or each of its own."""
    row = {"kind": "program", "created_at": now, "state": "pending", "interval": 2}
    database.execute(
        insert(schema.grants),
        [
            {
                **row,
                "device_digest": f"{place} {number:04}",
                "user_digest": f"{place} {number}",
                "expires_at": now + device.SECONDS,
                "address": place.format(number),
            }
            for number in range(count)
        ],
    )


def test_of_one_place_250_wait(database: Connection) -> None:
    wait(database, 249, "192.0.2.7")
    device.begin(database, NOW, address="192.0.2.7")
    with pytest.raises(HubError, match="HUB_BUSY") as refused:
        device.begin(database, NOW, address="192.0.2.7")
    assert (refused.value.status, refused.value.headers) == (429, {"Retry-After": "60"})
    device.begin(database, NOW, address="192.0.2.8")
    wait(database, 251, "")
    device.begin(database, NOW, address="")  # a command, which is of no place
    device.begin(database, NOW + 10 * MINUTE, address="192.0.2.7")
    assert len(rows(database, schema.grants)) == 1


def test_where_a_thousand_wait_the_oldest_goes_of_the_place_that_has_most(database: Connection) -> None:
    wait(database, 974, "one of many {}")
    wait(database, 24, "few", NOW - 2)
    device.begin(database, NOW, address="few")
    wait(database, 1, "old", NOW - 3)
    before = {one["device_digest"] for one in rows(database, schema.grants)}
    assert len(before) == 1000
    device.begin(database, NOW, address="new")
    after = {one["device_digest"] for one in rows(database, schema.grants)}
    assert before - after == {"few 0000"}
    assert len(after) == 1000


def test_where_a_thousand_wait_and_no_place_has_many_the_next_one_is_refused(database: Connection) -> None:
    wait(database, 975, "one of many {}")
    wait(database, 24, "few")
    device.begin(database, NOW, address="another")
    with pytest.raises(HubError, match="HUB_BUSY"):
        device.begin(database, NOW, address="new")
    assert len(rows(database, schema.grants)) == 1000


# Sessions of browsers


@pytest.mark.parametrize(
    ("address", "name"), [("https://hub.example.org", "__Host-kitty"), ("http://127.0.0.1:1", "kitty")]
)
def test_a_cookie_is_of_this_host_alone_where_there_is_tls(address: str, name: str) -> None:
    assert signin.cookie_name(address) == name
    assert signin.cookie_name(address, "kitty-more") == name + "-more"


def test_a_session_is_over_twelve_hours_after_its_use_and_a_week_after_it_began(
    database: Connection, ada: Member, others: list[Member]
) -> None:
    signin.begin(database, others[0].user_id, others[0].team_id, BY, NOW)
    before = len(noted(database))
    cookie = signin.begin(database, ada.user_id, ada.team_id, BY, NOW)

    def known(now: float) -> signin.Visit | None:
        return signin.known(database, cookie, now)

    visit = known(NOW)
    assert visit is not None
    assert visit.member == ada
    by = By(ADA, BY.where)
    assert noted(database, before) == [entry("browser.signed_in", by=by, whom=ADA, team_id=ada.team_id, what=visit.id)]
    assert known(NOW + 12 * HOUR - 1) is not None
    assert known(NOW + 12 * HOUR) is None
    signin._used(database, visit.id, NOW + 7 * DAY - 2)
    assert known(NOW + 7 * DAY - 1) is not None
    assert known(NOW + 7 * DAY) is None
    assert [one["used_at"] for one in rows(database, schema.visits)] == [NOW, NOW + 7 * DAY - 2]
    assert signin.known(database, "khb_other", NOW) is None


def test_a_session_is_looked_at_for_a_minute_before_that_is_written_down(database: Connection, ada: Member) -> None:
    cookie = signin.begin(database, ada.user_id, ada.team_id, BY, NOW)
    stale = [signin.known(database, cookie, NOW + later).stale for later in (0, 60, 61)]  # type: ignore[union-attr]
    assert stale == [False, False, True]


def test_the_secret_of_the_forms_is_of_one_session_and_is_not_what_is_kept(database: Connection, ada: Member) -> None:
    cookies = [signin.begin(database, ada.user_id, ada.team_id, BY, NOW) for _ in range(2)]
    seen = [signin.known(database, cookie, NOW).form_secret for cookie in cookies * 2]  # type: ignore[union-attr]
    assert seen[:2] == seen[2:]
    assert len({*seen, *cookies, *(one["digest"] for one in rows(database, schema.visits))}) == 6
    assert all(len(one) == 64 for one in seen)


def test_who_is_no_longer_in_the_team_has_no_session(database: Connection, ada: Member) -> None:
    cookie = signin.begin(database, ada.user_id, ada.team_id, BY, NOW)
    link = signin.make_link(database, ada, NOW, BY)
    database.execute(schema.members.delete())
    assert signin.known(database, cookie, NOW) is None
    assert signin.linked(database, link, NOW) is None


def test_sessions_that_are_over_are_forgotten_when_another_begins(database: Connection, ada: Member) -> None:
    for later in (0, 1, 12 * HOUR):
        signin.begin(database, ada.user_id, ada.team_id, BY, NOW + later)
    assert [one["created_at"] for one in rows(database, schema.visits)] == [NOW + 1, NOW + 12 * HOUR]


def test_the_browsers_of_a_team_are_those_that_are_not_over(
    database: Connection, ada: Member, others: list[Member]
) -> None:
    eve, ada_two, _ = others
    for one, later in ((eve, 1), (ada, 0), (ada_two, 0)):
        signin.begin(database, one.user_id, one.team_id, BY, NOW + later)
    listed = signin.alive(database, ada.team_id, NOW)
    assert [(one["email"], one["created_at"]) for one in listed] == [(ADA, NOW), (EVE, NOW + 1)]
    assert listed[0] | {"id": ""} == {
        "id": "",
        "email": ADA,
        "created_at": NOW,
        "used_at": NOW,
        "address": BY.where,
        "kind": "browser",
    }
    assert [one["email"] for one in signin.alive(database, ada.team_id, NOW, eve.user_id)] == [EVE]
    assert [one["email"] for one in signin.alive(database, ada.team_id, NOW + 12 * HOUR)] == [EVE]
    assert signin.end(database, listed[0]["id"], NOW, BY) is True
    assert signin.end(database, listed[0]["id"], NOW, BY) is False
    assert noted(database)[-1] == entry("browser.signed_out", whom=ADA, team_id=ada.team_id, what=listed[0]["id"])
    assert [one["email"] for one in signin.alive(database, ada.team_id, NOW)] == [EVE]


def test_ones_own_sessions_of_either_kind_are_ended_and_no_others(
    database: Connection, ada: Member, others: list[Member]
) -> None:
    program = tokens.open_session(database, ada.user_id, ada.team_id, NOW)
    signin.begin(database, ada.user_id, ada.team_id, BY, NOW)
    [browser] = signin.alive(database, ada.team_id, NOW)
    for session_id in (program.session_id, browser["id"]):
        for other in others:
            signin.end_own(database, other, session_id, BY, NOW)
        assert rows(database, schema.sessions)[0]["revoked_at"] == (None if session_id == program.session_id else NOW)
        assert rows(database, schema.visits)[0]["revoked_at"] is None
        before = len(noted(database))
        signin.end_own(database, ada, session_id, BY, NOW)
        signin.end_own(database, ada, session_id, BY, NOW)
        assert noted(database, before) == [entry("session.ended", whom=ADA, team_id=ada.team_id, what=session_id)]


# Links


def test_a_link_signs_in_whom_it_is_for_once_within_five_minutes(
    database: Connection, ada: Member, others: list[Member]
) -> None:
    before = len(noted(database))
    link = signin.make_link(database, ada, NOW, BY)
    assert noted(database, before) == [entry("link.made", whom=ADA, team_id=ada.team_id)]
    other = signin.make_link(database, others[2], NOW, BY)
    assert link.startswith("khl_")
    assert signin.linked(database, link, NOW + 5 * MINUTE - 1) == ada
    assert signin.linked(database, link, NOW + 5 * MINUTE) is None
    cookie = signin.take_link(database, link, BY, NOW + 5 * MINUTE - 1)
    assert cookie is not None
    visit = signin.known(database, cookie, NOW + 5 * MINUTE)
    assert visit is not None
    assert visit.member == ada
    before = len(noted(database))
    assert signin.take_link(database, link, BY, NOW + 1) is None
    assert noted(database, before) == [entry("link.refused", NOW + 1)]
    assert signin.linked(database, other, NOW) == others[2]


def test_links_that_are_over_are_forgotten_when_another_is_made(database: Connection, ada: Member) -> None:
    for later in (0, 1, 5 * MINUTE):
        signin.make_link(database, ada, NOW + later, BY)
    assert [one["expires_at"] - NOW for one in rows(database, schema.links)] == [5 * MINUTE + 1, 10 * MINUTE]


# What commands are told


def test_the_hub_tells_its_last_address_and_nothing_else(database: Connection) -> None:
    assert signin.told_address(database) is None
    database.execute(insert(schema.settings).values(name="another", value="x"))
    for address in ("https://one.example.org", "https://two.example.org"):
        signin.tell_address(database, address)
        assert signin.told_address(database) == address
    assert {"name": "another", "value": "x"} in rows(database, schema.settings)
