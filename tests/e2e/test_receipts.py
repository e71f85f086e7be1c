"""Which rules somebody was given: written with every claim, shown afterwards, and not to be had by an edited file."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from spec_kitty_events.diary import parse_diary, reduce

from kitty_host.ledger.event import Transition
from kitty_host.ledger.huge import Hurry
from kitty_host.ledger.lines import Block, blocks, decode_lines
from kitty_host.ledger.reduce import Snapshot
from kitty_host.ledger.reduce import reduce as reduced
from kitty_host.mission import Mission, select_mission
from kitty_host.repo import Repo
from kitty_host.testing import Result

from .conftest import Walk

CHARTER = "# House rules\n\nBe kind. DIR-001\n\n## Tests\n\nSee them fail.\n\n## Merging\n\nNot on Fridays.\n"


@pytest.fixture
def chartered(walk: Walk) -> Walk:
    """A planned mission in a project with a charter."""
    write(walk, CHARTER)
    walk.plan()
    return walk


def write(walk: Walk, text: str) -> None:
    walk.project.write(".kittify/charter/charter.md", text)


def mission_of(walk: Walk) -> Mission:
    return select_mission(Repo.find(walk.project.root), walk.mission, lambda mission: True)


def claims(walk: Walk) -> list[tuple[str, str, dict[str, Any]]]:
    """Where it came from and went to, and the rules, of every row of WP01 that has rules."""
    rows = [row for row in mission_of(walk).ledger.events() if isinstance(row, Transition) and row.wp_id == "WP01"]
    return [(row.from_lane, row.to_lane, row.policy["rules"]) for row in rows if row.policy and "rules" in row.policy]


def context(walk: Walk, action: str) -> dict[str, Any]:
    return walk.kitty("charter", "context", "--action", action, "--mode", "bootstrap").json


def receipt(walk: Walk, *arguments: str) -> Result:
    return walk.project.kitty("charter", "receipt", "WP01", "--mission", walk.mission, *arguments)


def refused(walk: Walk, *arguments: str) -> Result:
    """A command on the mission that is refused."""
    answer = walk.project.kitty(*arguments, "--mission", walk.mission, "--json")
    assert answer.exit_code == 1, answer
    return answer


def kept(walk: Walk) -> list[Path]:
    return sorted((walk.project.root / ".git" / "kitty" / "rules").glob("*"))


def test_the_claim_of_a_package_carries_its_rules(chartered: Walk) -> None:
    answer = chartered.kitty("implement", "WP01", "--agent", "ada").json["rules"]
    expected = context(chartered, "implement")
    ((source, target, rules),) = claims(chartered)
    assert (source, target, rules["action"]) == ("planned", "claimed", "implement")
    assert rules["sections"] == {one["anchor"]: one["sha256"] for one in expected["receipt"]}
    assert expected["text"] == f"{Path(answer['file']).read_text()}\n\nReceipt: {rules['receipt']}"
    assert answer == {"receipt": rules["receipt"], "file": str(kept(chartered)[0]), "changed": False}


def test_the_claim_of_a_review_carries_its_rules_also_when_it_is_taken_over(chartered: Walk) -> None:
    chartered.implement("WP01")
    first = chartered.kitty("review", "WP01", "--claim", "--agent", "grace").json["rules"]
    write(chartered, CHARTER.replace("kind", "kinder"))
    taken = chartered.kitty("review", "WP01", "--claim", "--agent", "olga", "--force", "--reason", "r").json["rules"]
    _, *reviews = claims(chartered)
    assert [(source, target, rules["action"], rules["receipt"]) for source, target, rules in reviews] == [
        ("for_review", "in_review", "review", first["receipt"]),
        ("in_review", "in_review", "review", taken["receipt"]),
    ]
    assert first["receipt"] != taken["receipt"]
    assert taken["file"] != first["file"]


def test_a_retry_after_a_failed_allocation_carries_them_too(
    chartered: Walk, install_plugin: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    install_plugin(
        "stranger",
        "from kitty_host.api import hookimpl\n\n@hookimpl\ndef kitty_workspace(package, mission):\n    1 / 0\n",
    )
    assert chartered.project.kitty("implement", "WP01", "--mission", chartered.mission, "--agent", "ada").exit_code == 3
    write(chartered, CHARTER.replace("kind", "kinder"))
    monkeypatch.setenv("KITTY_PLUGINS", "runtime,merge,charter")
    given = chartered.kitty("implement", "WP01", "--agent", "bob").json["rules"]
    (_, _, first), (source, target, second) = claims(chartered)
    assert (source, target, second["receipt"]) == ("blocked", "in_progress", given["receipt"])
    assert first["receipt"] != second["receipt"]


def test_a_package_that_was_claimed_by_other_means_gets_its_rules_when_it_is_handed_out(chartered: Walk) -> None:
    chartered.project.record(mission_of(chartered), "WP01", "claimed", actor="ada")
    given = chartered.kitty("implement", "WP01", "--agent", "ada").json["rules"]
    ((source, target, rules),) = claims(chartered)
    assert (source, target, rules["receipt"]) == ("claimed", "in_progress", given["receipt"])


@pytest.mark.parametrize("step", ["implement", "review"])
def test_who_asks_again_is_told_of_the_rules_that_were_recorded(chartered: Walk, step: str) -> None:
    command = ["implement", "WP01", "--agent", "ada"]
    if step == "review":
        chartered.implement("WP01")
        command = ["review", "WP01", "--claim", "--agent", "grace"]
    first = chartered.kitty(*command).json["rules"]
    assert chartered.kitty(*command).json["rules"] == first
    write(chartered, CHARTER.replace("kind", "kinder"))
    before = kept(chartered)
    assert chartered.kitty(*command).json["rules"] == {**first, "changed": True}
    assert kept(chartered) == before
    people = chartered.project.kitty(*command, "--mission", chartered.mission)
    assert "they have changed since: kitty charter receipt WP01" in people.stdout


def test_a_receipt_says_what_is_the_same_changed_gone_and_new(chartered: Walk) -> None:
    chartered.kitty("implement", "WP01", "--agent", "ada")
    (claim,) = json.loads(receipt(chartered, "--json").stdout)["claims"]
    assert {one["now"] for one in claim["sections"]} == {"same"}
    assert (claim["actor"], claim["action"], claim["text_kept"]) == ("ada", "implement", True)
    write(chartered, CHARTER.replace("See them fail", "See them fall").replace("Merging", "Landing"))
    (claim,) = json.loads(receipt(chartered, "--json").stdout)["claims"]
    assert {one["anchor"]: one["now"] for one in claim["sections"]} == {
        "house-rules": "same",
        "tests": "changed",
        "merging": "gone",
        "landing": "new",
        "kitty-always": "same",
        "kitty-implement": "same",
    }
    people = receipt(chartered).stdout
    assert "ada took it, with the rules to implement" in people
    assert "  changed  tests\n" in people


def test_the_text_is_printed_as_it_was_given(chartered: Walk) -> None:
    chartered.kitty("implement", "WP01", "--agent", "ada")
    given = context(chartered, "implement")["text"].partition("\n\nReceipt: ")[0]
    write(chartered, "# Other rules\n")
    assert json.loads(receipt(chartered, "--text", "--json").stdout)["text"] == given
    assert receipt(chartered, "--text").stdout == given + "\n"


@pytest.mark.parametrize("damage", [lambda path: path.write_text(path.read_text() + " "), lambda path: path.unlink()])
def test_a_text_that_is_not_the_one_that_was_given_is_not_shown(chartered: Walk, damage: Callable[[Path], Any]) -> None:
    answer = chartered.kitty("implement", "WP01", "--agent", "ada").json["rules"]
    damage(Path(answer["file"]))
    shown = receipt(chartered, "--text", "--json")
    assert (shown.exit_code, shown.code) == (1, "RECEIPT_MISSING")
    assert json.loads(receipt(chartered, "--json").stdout)["claims"][0]["text_kept"] is False
    assert chartered.kitty("implement", "WP01", "--agent", "ada").json["rules"] == answer, "it is put right"
    assert receipt(chartered, "--text").exit_code == 0


def test_a_row_that_somebody_has_changed_is_damaged(chartered: Walk) -> None:
    chartered.kitty("implement", "WP01", "--agent", "ada")
    sha256 = claims(chartered)[0][2]["sections"]["tests"]
    ledger = mission_of(chartered).ledger.live
    text = ledger.read_text()
    assert text.count(sha256) == 1
    ledger.write_text(text.replace(sha256, "0" * 64))
    for arguments in (["--json"], ["--text", "--json"]):
        shown = receipt(chartered, *arguments)
        assert (shown.exit_code, shown.code) == (1, "RECEIPT_DAMAGED")


def test_without_a_claim_there_is_no_receipt(chartered: Walk) -> None:
    shown = receipt(chartered, "--json")
    assert (shown.exit_code, shown.code) == (1, "RECEIPT_MISSING")


def test_a_charter_that_cannot_be_read_claims_nothing(chartered: Walk) -> None:
    chartered.project.write(".kittify/charter/charter.yaml", "governance: [\n")
    before = chartered.project.snapshot()
    assert refused(chartered, "implement", "WP01", "--agent", "ada").code == "CHARTER_INVALID"
    assert chartered.project.snapshot() == before


def test_without_the_charter_plugin_a_claim_has_no_receipt(chartered: Walk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KITTY_PLUGINS", "runtime,merge")
    assert chartered.kitty("implement", "WP01", "--agent", "ada").json["rules"] is None
    assert claims(chartered) == []
    assert kept(chartered) == []


STRANGER = """
from kitty_host.api import hookimpl

@hookimpl
def kitty_charter_sections(action):
    raise RuntimeError("the rules are on a server that is down")
"""


def test_a_section_that_failed_is_a_note_and_part_of_the_receipt(
    chartered: Walk, install_plugin: Callable[..., Path]
) -> None:
    install_plugin("stranger", STRANGER)
    answer = chartered.kitty("implement", "WP01", "--agent", "ada").json["rules"]
    assert "missing-stranger" in claims(chartered)[0][2]["sections"]
    assert "The rules of plugin stranger are missing here" in Path(answer["file"]).read_text()


def test_a_refused_claim_writes_nothing(chartered: Walk) -> None:
    chartered.kitty("implement", "WP01", "--agent", "ada")
    write(chartered, CHARTER.replace("kind", "kinder"))
    before = chartered.project.snapshot()
    assert refused(chartered, "implement", "WP01", "--agent", "bob").code == "TRANSITION_REFUSED"
    assert refused(chartered, "review", "WP01", "--claim", "--agent", "bob").code == "TRANSITION_REFUSED"
    refused(chartered, "implement", "WP07", "--agent", "bob")
    assert chartered.project.snapshot() == before


def test_a_prompt_and_a_claim_have_the_same_rules(chartered: Walk) -> None:
    prompt = chartered.kitty("next", "--agent", "ada", "--result", "success").json
    assert prompt["mission_state"] == "implement", prompt
    answer = chartered.kitty("implement", "WP01", "--agent", "ada").json["rules"]
    text = Path(answer["file"]).read_text()
    assert f"{text}\n\nReceipt: {answer['receipt']}" in Path(prompt["prompt_file"]).read_text()


@pytest.fixture
def taken(chartered: Walk) -> Mission:
    """A mission of which a package was implemented and reviewed, with rules in two rows."""
    chartered.implement("WP01")
    chartered.review("WP01")
    assert len(claims(chartered)) == 2
    return mission_of(chartered)


def test_rows_with_rules_are_read_by_the_protocols_own_package(taken: Mission) -> None:
    rows = [json.loads(line) for line in taken.ledger.live.read_text().splitlines()]
    told = [
        one.policy_metadata["rules"]["action"]
        for one in parse_diary(rows).transitions
        if "rules" in (one.policy_metadata or {})
    ]
    assert told == ["implement", "review"]
    assert reduce(rows).work_packages["WP01"]["lane"] == "approved"


def test_rows_with_rules_are_read_the_quick_way(taken: Mission, monkeypatch: pytest.MonkeyPatch) -> None:
    slow: list[bytes] = []
    real = Hurry._extend_slowly

    def count(self: Hurry, block: Block) -> bool:
        slow.append(block.content)
        return real(self, block)

    monkeypatch.setattr(Hurry, "_extend_slowly", count)
    monkeypatch.setattr("kitty_host.ledger.lines._BLOCK", 1)
    content = taken.ledger.live.read_bytes()
    state = Snapshot()
    hurry = Hurry(state, taken.ledger.live)
    found = list(blocks(io.BytesIO(content), taken.ledger.live))
    assert len(found) > 4
    assert all(hurry.extend(block) for block in found)
    hurry.settle(io.BytesIO(content))
    assert not [one for one in slow if b'"rules"' in one]
    whole = reduced(decode_lines(content.splitlines(), taken.ledger.live))
    assert state.to_dict() == whole.to_dict()
    assert state.packages["WP01"].entered == whole.packages["WP01"].entered
