"""For every hook and every way to break one: what the line *Failure* of its docstring says, and nobody else suffers."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kitty_host import hooks
from kitty_host.api import KittyError
from kitty_host.containment import configured_seconds
from kitty_host.plugins import PluginFault, Plugins
from kitty_host.repo import Repo
from kitty_host.testing import Project

HOOKS: dict[str, Callable[..., Any]] = {
    name: value for name, value in vars(hooks).items() if hasattr(value, "kitty_spec")
}
PRELUDE = "import itertools, time\nfrom kitty_host.api import Command, Finding, KittyError, hookimpl\n\n@hookimpl\n"

WAYS = {
    "raises": "raise ValueError('broken')",
    "exits": "raise SystemExit(0)",
    "is cancelled": "import asyncio\nraise asyncio.CancelledError",
    "prints much": "print('x' * 1_000_000)",
    "prints much and swallows it": "try:\n    print('x' * 1_000_000)\nexcept BaseException:\n    pass",
}
ENDLESS = {
    "sleeps": "time.sleep(3600)",
    "spins": "while True:\n    pass",
    "swallows errors": "while True:\n    try:\n        time.sleep(3600)\n    except Exception:\n        pass",
    "swallows all and answers": "try:\n    time.sleep(3600)\nexcept BaseException:\n    return []",
    "answers without end": "while True:\n    yield 5",
    "hands out an endless thing": "return itertools.count()",
}


# What the host does with the hook, and what is then to be seen of the plugin `bad`.


def its_commands_are_missing(plugins: Plugins, hook: str) -> None:
    assert {name.partition(":")[0] for name in plugins.commands()[0] if ":" in name} == {"good", "host"}
    assert "good" in plugins.commands()[0]


def it_is_a_blocking_finding(plugins: Plugins, hook: str) -> None:
    found = plugins.findings(hook, **nothing(hook))
    [failed] = [finding for finding in found if finding.severity == "block"]
    assert failed.code == "PLUGIN_CHECK_FAILED"
    assert f"{hook} of plugin bad failed: " in failed.message
    assert "GOOD" in [finding.code for finding in found]


def it_is_noted(plugins: Plugins, hook: str) -> None:
    plugins.observe(hook, **nothing(hook))
    [note] = plugins.notes
    assert note.startswith(f"plugin bad: {hook} failed: ")


def it_is_left_out_and_noted(plugins: Plugins, hook: str) -> None:
    assert [finding.code for finding in plugins.collect(hook, **nothing(hook))] == ["GOOD"]
    [note] = plugins.notes
    assert note.startswith(f"plugin bad: {hook} failed: ")


def the_failure_is_its_answer(plugins: Plugins, hook: str) -> None:
    answers = dict(plugins.each(hook, **nothing(hook)))
    assert isinstance(answers["bad"], Exception)
    assert isinstance(answers["good"], list)


def it_is_a_fault(plugins: Plugins, hook: str) -> None:
    with pytest.raises(PluginFault, match=f"plugin (bad|bad, good|good, bad): {hook} failed: "):
        plugins.first(hook, **nothing(hook))


EFFECTS = {
    "kitty_commands": its_commands_are_missing,
    "kitty_emit_check": it_is_a_blocking_finding,
    "kitty_merge_check": it_is_a_blocking_finding,
    "kitty_intake_check": it_is_a_blocking_finding,
    "kitty_emitted": it_is_noted,
    "kitty_merged": it_is_noted,
    "kitty_mission_types": it_is_left_out_and_noted,
    "kitty_charter_sections": the_failure_is_its_answer,
    "kitty_gates": the_failure_is_its_answer,
    "kitty_doctor": the_failure_is_its_answer,
    **dict.fromkeys(
        (
            *("kitty_lanes", "kitty_workspace", "kitty_find_workspace", "kitty_submission", "kitty_forecast"),
            *("kitty_candidate", "kitty_merge", "kitty_intake", "kitty_brief", "kitty_next", "kitty_transport"),
            *("kitty_charter_render", "kitty_board_page", "kitty_acceptance", "kitty_charter"),
        ),
        it_is_a_fault,
    ),
}
ONE_ANSWER = [name for name, effect in EFFECTS.items() if effect is it_is_a_fault]
MANY_ANSWERS = [name for name in EFFECTS if name not in ONE_ANSWER]


def nothing(hook: str) -> dict[str, None]:
    return dict.fromkeys(inspect.signature(HOOKS[hook]).parameters)


def source(hook: str, body: str) -> str:
    arguments = ", ".join(inspect.signature(HOOKS[hook]).parameters)
    return f"{PRELUDE}def {hook}({arguments}):\n{textwrap.indent(body, '    ')}\n"


@pytest.fixture
def broken(plugins_with: Callable[..., Plugins], monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Plugins]:
    """A plugin whose hook has the given body, and one that is well."""

    def make(hook: str, body: str) -> Plugins:
        monkeypatch.setenv("KITTY_PLUGIN_TIMEOUT", "0.3")
        well = "[Finding('GOOD', 'well', severity='info')]"
        if hook == "kitty_commands":
            well = "[Command('good', 'good:good', 'Good.')]"
        elif hook in ONE_ANSWER:
            well = "None"
        return plugins_with(good=source(hook, f"return {well}"), bad=source(hook, body))

    return make


def test_every_hook_has_a_row_here_and_no_other() -> None:
    assert set(EFFECTS) == set(HOOKS)
    firstresult = {name for name, value in HOOKS.items() if vars(value)["kitty_spec"]["firstresult"]}
    assert set(ONE_ANSWER) == firstresult


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("hook", EFFECTS)
def test_a_hook_that_breaks_has_the_effect_that_is_written(
    broken: Callable[[str, str], Plugins], capsys: pytest.CaptureFixture[str], hook: str, way: str
) -> None:
    plugins = broken(hook, WAYS[way])
    EFFECTS[hook](plugins, hook)
    listed = [fault.plugin for fault in plugins.faults if fault.plugin != "host"]
    assert listed == ([] if hook in ONE_ANSWER else ["bad"])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("way", ENDLESS)
@pytest.mark.parametrize("hook", MANY_ANSWERS)
def test_a_hook_without_an_end_has_the_same_effect(broken: Callable[[str, str], Plugins], hook: str, way: str) -> None:
    plugins = broken(hook, ENDLESS[way])
    EFFECTS[hook](plugins, hook)
    assert [fault.plugin for fault in plugins.faults if fault.plugin != "host"] == ["bad"]


@pytest.mark.parametrize("hook", EFFECTS)
def test_an_interruption_is_nobodys_fault(broken: Callable[[str, str], Plugins], hook: str) -> None:
    plugins = broken(hook, "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        EFFECTS[hook](plugins, hook)
    assert [fault for fault in plugins.faults if fault.plugin != "host"] == []


@pytest.mark.parametrize("hook", ONE_ANSWER)
def test_the_one_answer_may_take_its_time_and_may_refuse(broken: Callable[[str, str], Plugins], hook: str) -> None:
    plugins = broken(hook, "time.sleep(0.5)\nraise KittyError('NO', 'no')")
    with pytest.raises(KittyError, match="NO: no"):
        plugins.first(hook, **nothing(hook))


def test_who_did_not_come_back_is_not_waited_for_again(broken: Callable[[str, str], Plugins], tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    plugins = broken("kitty_merged", f"with open({str(calls)!r}, 'a') as out:\n    out.write('x')\ntime.sleep(3600)")
    for _ in range(3):
        plugins.observe("kitty_merged", landing=None)
    assert calls.read_text() == "x"
    assert len(plugins.notes) == 1


def test_a_time_out_of_ones_own_is_an_error_like_any_other(
    broken: Callable[[str, str], Plugins], tmp_path: Path
) -> None:
    calls = tmp_path / "calls"
    plugins = broken("kitty_merged", f"with open({str(calls)!r}, 'a') as out:\n    out.write('x')\nraise TimeoutError")
    for _ in range(3):
        plugins.observe("kitty_merged", landing=None)
    assert calls.read_text() == "xxx"


def test_a_check_that_gives_something_else_than_findings_has_failed(broken: Callable[[str, str], Plugins]) -> None:
    it_is_a_blocking_finding(broken("kitty_emit_check", "return ['no finding']"), "kitty_emit_check")


# The limit of the repository


@pytest.fixture
def slow(plugins_with: Callable[..., Plugins]) -> Plugins:
    return plugins_with(slow=source("kitty_merged", "time.sleep(1)") + source("kitty_merge_check", "time.sleep(1)"))


def limited(project: Project, text: str) -> Callable[[], float]:
    project.write(".kittify/config.yaml", f"plugins: {{timeout_seconds: {text}}}\n")
    return lambda: configured_seconds(Repo.find(project.root))


def test_the_limit_is_the_repositorys_once_there_is_one(slow: Plugins, project: Project) -> None:
    assert slow.findings("kitty_merge_check", candidate=None) == []
    slow.ask_limit(limited(project, "0.1"))
    [finding] = slow.findings("kitty_merge_check", candidate=None)
    assert "no answer within 0.1 s" in finding.message


def test_a_limit_that_is_none_refuses_a_check_each_time(slow: Plugins, project: Project) -> None:
    slow.ask_limit(limited(project, "soon"))
    for _ in range(2):
        with pytest.raises(KittyError, match="CONFIG_INVALID"):
            slow.findings("kitty_merge_check", candidate=None)


def test_it_is_noted_where_something_has_happened_already(slow: Plugins, project: Project) -> None:
    slow.ask_limit(limited(project, "soon"))
    slow.observe("kitty_merged", landing=None)
    [note] = slow.notes
    assert note.startswith("CONFIG_INVALID")


def test_the_configuration_is_not_read_for_hooks_without_a_limit(slow: Plugins, project: Project) -> None:
    slow.ask_limit(limited(project, "soon"))
    assert slow.first("kitty_brief", repo=None) is None
    assert slow.commands()[0]


def test_nor_where_nobody_answers(slow: Plugins, project: Project) -> None:
    slow.ask_limit(limited(project, "soon"))
    assert slow.findings("kitty_intake_check", brief=None) == []
    slow.observe("kitty_emitted", event=None, mission=None)
    assert slow.notes == []
