"""Whatever a plugin does wrong is one listed fault; everything else goes on."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kitty_host.api import Command, Finding, KittyError
from kitty_host.plugins import PluginFault, Plugins
from kitty_host.testing import Project, Result

HOOK = "from kitty_host.api import Command, Finding, hookimpl\n@hookimpl\n"
GREET = HOOK + "def kitty_commands():\n    return [Command('greet', 'NAME_cli:greet', 'Greet.')]\n"
GREET_CLI = "import click\n@click.command()\ndef greet():\n    click.echo('hello from NAME')\n"
GOOD = HOOK + "def kitty_doctor(repo):\n    return [Finding('GOOD', 'I am well', severity='info')]\n"

Install = Callable[..., Path]
PluginsWith = Callable[..., Plugins]


@pytest.fixture
def greeter(install: Install) -> Callable[..., None]:
    """Installs a plugin with a command `greet`."""

    def make(name: str, distribution: str = "") -> None:
        site = install(name, GREET.replace("NAME", name), distribution=distribution)
        (site / f"{name}_cli.py").write_text(GREET_CLI.replace("NAME", name))

    return make


def only_fault(plugins: Plugins, name: str) -> str:
    [fault] = plugins.faults
    assert fault.plugin == name
    return fault.message


def listed(project: Project) -> Any:
    """What `kitty plugins doctor` says; that it says anything shows that the command line lives."""
    result = project.kitty("plugins", "doctor", "--json")
    faults = result.json["faults"]
    assert result.exit_code == (1 if faults else 0), result
    assert result.json["ok"] == (not faults)
    return faults


# Manifests that fail


BROKEN = {
    "an import error": ("import no_such_module\n", "No module named 'no_such_module'"),
    "a syntax error": ("def\n", "SyntaxError"),
    "an exit at import": ("raise SystemExit(0)\n", "SystemExit"),
    "any other error": ("1 / 0\n", "ZeroDivisionError"),
    "a misspelt hook": (HOOK + "def kitty_comands():\n    return []\n", "there is no hook kitty_comands"),
    "a hook of another family": (HOOK + "def kity_commands():\n    return []\n", "there is no hook kity_commands"),
    "a wrong argument": (HOOK + "def kitty_doctor(repository):\n    return []\n", "repository"),
    "commands that raise": (HOOK + "def kitty_commands():\n    1 / 0\n", "ZeroDivisionError"),
    "commands that exit": (HOOK + "def kitty_commands():\n    raise SystemExit(0)\n", "SystemExit"),
    "commands that are none": (HOOK + "def kitty_commands():\n    return ['greet']\n", "no Command"),
    "commands that are no list": (HOOK + "def kitty_commands():\n    return 5\n", "TypeError"),
    "a command with a strange name": (
        HOOK + "def kitty_commands():\n    return [Command('--json', 'x:y', 'X.')]\n",
        "plain name",
    ),
    "a command without a target": (
        HOOK + "def kitty_commands():\n    return [Command('lost', 'no_such_module:lost', 'Lost.')]\n",
        "the command lost",
    ),
    "a command that is no command": (
        HOOK + "def kitty_commands():\n    return [Command('lost', 'os:sep', 'Lost.')]\n",
        "the command lost",
    ),
    "a stolen name": (
        HOOK + "def kitty_commands():\n    return [Command('doctor', 'kitty_host.builtin.doctor:doctor', 'Mine.')]\n",
        "the command doctor belongs to kitty-host; use broken:doctor",
    ),
    "a wrapper of a hook with many answers": (
        "from kitty_host.api import hookimpl\n@hookimpl(wrapper=True)\ndef kitty_doctor(repo):\n    return (yield)\n",
        "wrappers are for hooks that have",
    ),
    "an old wrapper of a hook with many answers": (
        "import pluggy\n@pluggy.HookimplMarker('kitty')(hookwrapper=True)\ndef kitty_doctor(repo):\n    yield\n",
        "wrappers are for hooks that have",
    ),
    "a command whose parts are no text": (
        HOOK + "def kitty_commands():\n    return [Command('lost', 5, None)]\n",
        "no Command",
    ),
    "a thing that cannot be shown": (
        "class Bad:\n    def __repr__(self):\n        1 / 0\n" + HOOK + "def kitty_commands():\n    return [Bad()]\n",
        "no Command",
    ),
    "an error that cannot be told": (
        "class Bad(Exception):\n    def __str__(self):\n        1 / 0\nraise Bad\n",
        "Bad: (its text cannot be told)",
    ),
    "a name that cannot be looked at": (
        "class Bad:\n    def __getattr__(self, name):\n        1 / 0\n    def __call__(self):\n        pass\nbad = Bad()\n",
        "ZeroDivisionError",
    ),
    "a cancelled task": (
        HOOK + "def kitty_commands():\n    import asyncio\n    raise asyncio.CancelledError\n",
        "Cancelled",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plugin_is_one_listed_fault_and_the_rest_lives(install: Install, project: Project, name: str) -> None:
    source, said = BROKEN[name]
    install("broken", source)
    install("good", GOOD)
    [fault] = listed(project)
    assert (fault["plugin"], fault["distribution"]) == ("broken", "kitty-broken")
    assert said in fault["message"]
    assert project.kitty("--help").exit_code == 0
    health = project.kitty("doctor", "--json")
    assert "GOOD" in [finding["code"] for finding in health.json["findings"]]


def test_an_error_is_not_told_without_end(install: Install, project: Project) -> None:
    install("broken", "raise ValueError('x' * 1_000_000)\n")
    [fault] = listed(project)
    assert len(fault["message"]) < 1000


def test_help_counts_the_faults_that_start_up_saw(install: Install, project: Project) -> None:
    install("broken", "1 / 0\n")
    assert "1 faults in plugins: kitty plugins doctor" in project.kitty("--help").stdout
    assert "No plugin is at fault" not in project.kitty("plugins", "doctor").stdout


def test_a_plugin_with_one_wrong_hook_has_none(install: Install, alone: Path) -> None:
    install("half", GOOD + "@hookimpl\ndef kitty_emitted(wrong):\n    pass\n")
    plugins = Plugins.discover()
    assert "wrong" in only_fault(plugins, "half")
    assert plugins.hooks_of("half") == []
    assert plugins.implementers("kitty_doctor") == ["host"]


def test_a_misspelt_hook_leaves_the_others_of_its_plugin(install: Install, alone: Path) -> None:
    install("half", GOOD + "@hookimpl\ndef kitty_emited(event):\n    pass\n")
    plugins = Plugins.discover()
    assert "kitty_emited" in only_fault(plugins, "half")
    assert "half" in plugins.implementers("kitty_doctor")


def test_a_hook_may_go_by_another_name_than_its_function(install: Install, alone: Path) -> None:
    install(
        "named",
        "import pluggy\n@pluggy.HookimplMarker('kitty')(specname='kitty_doctor')\ndef look_around(repo):\n    return []\n",
    )
    plugins = Plugins.discover()
    assert plugins.faults == []
    assert plugins.hooks_of("named") == ["kitty_doctor"]


def test_things_in_a_manifest_that_are_no_hooks_are_no_business_of_kitty(install: Install, alone: Path) -> None:
    install("plain", GOOD + "def kitty_helper():\n    pass\nkitty_constant = 5\nclass Kitty:\n    pass\n")
    assert Plugins.discover().faults == []


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("no_such_module:lost", "ModuleNotFoundError"),
        ("lost_cli:nothing", "AttributeError"),
        ("lost_cli", "lost"),
        ("lost_cli:left", "SystemExit"),
    ],
)
def test_a_missing_target_names_the_plugin_when_the_command_is_run(
    install: Install, project: Project, target: str, said: str
) -> None:
    source = HOOK + f"def kitty_commands():\n    return [Command('lost', '{target}', 'Lost.')]\n"
    site = install("lost", source)
    (site / "lost_cli.py").write_text(
        "def __getattr__(name):\n    raise SystemExit(0) if name == 'left' else AttributeError(name)\n"
    )
    result = project.kitty("lost", "--json")
    assert (result.exit_code, result.code) == (3, "FAULT")
    assert result.json["details"]["plugin"] == "lost"
    assert said in result.json["message"]


# Names


def test_two_strangers_with_one_command_are_both_named_and_reached(
    greeter: Callable[..., None], project: Project
) -> None:
    greeter("one")
    greeter("two")
    result = project.kitty("greet", "--json")
    assert (result.exit_code, result.code) == (1, "PLUGIN_COMMAND_CLASH")
    for name in ("one", "two"):
        assert f"kitty-{name}" in result.json["message"]
        assert f"{name}:greet" in result.json["hint"]
    assert project.kitty("one:greet").stdout == "hello from one\n"
    assert project.kitty("two:greet").stdout == "hello from two\n"
    assert re.search(r"greet +Claimed by kitty-\w+ and kitty-\w+", project.kitty("--help").stdout)


def test_a_command_can_always_be_reached_through_its_plugin(greeter: Callable[..., None], project: Project) -> None:
    greeter("one")
    assert project.kitty("greet").stdout == project.kitty("one:greet").stdout == "hello from one\n"
    assert "one:greet" not in project.kitty("--help").stdout


def test_a_name_of_the_hosts_own_stays_with_it(install: Install, project: Project) -> None:
    site = install("thief", GREET.replace("greet'", "doctor'").replace("NAME", "thief"))
    (site / "thief_cli.py").write_text("import click\n@click.command()\ndef doctor():\n    click.echo('stolen')\n")
    assert project.kitty("doctor", "--json").json["schema"] == "kitty.doctor/1"
    assert project.kitty("thief:doctor").stdout == "stolen\n"


@pytest.mark.parametrize("module", ["aaa_first", "zzz_last"])
def test_nobody_takes_the_name_of_the_hosts_own_plugin(install: Install, project: Project, module: str) -> None:
    install("host", GOOD, distribution="stranger", module=module)
    [fault] = listed(project)
    assert fault["distribution"] == "stranger"
    assert fault["message"] == "the name host is taken by kitty-host"


def test_of_two_strangers_with_one_name_the_first_has_it(install: Install, alone: Path) -> None:
    install("same", GOOD, distribution="aaa")
    install("same", GOOD, distribution="bbb")
    plugins = Plugins.discover()
    assert plugins.entries["same"].distribution == "aaa"
    assert [(fault.distribution, fault.message) for fault in plugins.faults] == [
        ("bbb", "the name same is taken by aaa")
    ]


# Which plugins count


def test_the_allow_list_says_which_plugins_count(
    install: Install, alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two", "three"):
        install(name, GOOD)
    monkeypatch.setenv("KITTY_PLUGINS", "one, three")
    assert sorted(Plugins.discover().entries) == ["host", "one", "three"]
    monkeypatch.setenv("KITTY_PLUGINS", "")
    assert sorted(Plugins.discover().entries) == ["host"]
    monkeypatch.delenv("KITTY_PLUGINS")
    assert {"host", "one", "two", "three"} <= set(Plugins.discover().entries)


def test_a_plugin_that_is_not_allowed_is_not_even_imported(
    install: Install, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("broken", "1 / 0\n")
    monkeypatch.setenv("KITTY_PLUGINS", "")
    assert listed(project) == []


# Calling hooks


def test_the_first_answer_wins_and_later_ones_are_not_asked(plugins_with: PluginsWith) -> None:
    hook = HOOK + "def kitty_brief(repo):\n    return repo + ' NAME'\n"
    quiet = HOOK + "def kitty_brief(repo):\n    return None\n"
    last = hook.replace("@hookimpl", "@hookimpl(trylast=True)")
    plugins = plugins_with(a=last.replace("NAME", "a"), b=hook.replace("NAME", "b"), c=quiet)
    assert plugins.first("kitty_brief", repo="x") == "x b"
    assert plugins.implementers("kitty_brief")[-1] == "a"


def test_a_wrapper_surrounds_the_answer(plugins_with: PluginsWith) -> None:
    wrapper = "from kitty_host.api import hookimpl\n@hookimpl(wrapper=True)\ndef kitty_brief(repo):\n    return (yield) + ' wrapped'\n"
    plugins = plugins_with(a=HOOK + "def kitty_brief(repo):\n    return repo\n", w=wrapper)
    assert plugins.first("kitty_brief", repo="x") == "x wrapped"


def test_no_answer_is_none_and_a_required_one_names_what_to_install(alone: Path) -> None:
    plugins = Plugins.discover()
    assert plugins.first("kitty_brief", repo=None) is None
    assert not plugins.implements("kitty_brief")
    with pytest.raises(KittyError) as refused:
        plugins.required("kitty_brief", repo=None)
    assert refused.value.code == "PLUGIN_MISSING"
    assert "kitty_brief" in refused.value.message


@pytest.mark.parametrize("failure", ["ValueError('broken')", "SystemExit(0)"])
def test_a_failing_answer_names_its_plugin(plugins_with: PluginsWith, failure: str) -> None:
    plugins = plugins_with(bad=HOOK + f"def kitty_brief(repo):\n    raise {failure}\n")
    with pytest.raises(PluginFault, match="plugin bad: kitty_brief failed") as failed:
        plugins.first("kitty_brief", repo=None)
    assert failed.value.plugin == "bad"


def test_a_refusal_of_a_plugin_passes_as_it_is(plugins_with: PluginsWith) -> None:
    source = (
        "from kitty_host.api import KittyError\n"
        + HOOK
        + "def kitty_brief(repo):\n    raise KittyError('NO', 'no', 'yes')\n"
    )
    plugins = plugins_with(bad=source)
    with pytest.raises(KittyError, match="NO: no"):
        plugins.first("kitty_brief", repo=None)


def test_answers_are_collected_from_all_and_failures_left_out(plugins_with: PluginsWith) -> None:
    plugins = plugins_with(
        a=HOOK + "def kitty_charter_sections(action):\n    return [action + ' a']\n",
        b=HOOK + "def kitty_charter_sections(action):\n    yield action + ' b'\n    raise ValueError('late')\n",
        c=HOOK + "def kitty_charter_sections():\n    return None\n",
        d=HOOK + "def kitty_charter_sections(action):\n    yield action + ' d'\n",
    )
    assert sorted(plugins.collect("kitty_charter_sections", action="x")) == ["x a", "x d"]
    assert "late" in only_fault(plugins, "b")
    answers = dict(plugins.each("kitty_charter_sections", action="x"))
    assert answers["a"] == ["x a"]
    assert isinstance(answers["b"], ValueError)
    assert answers["c"] == []


def test_a_fault_is_listed_once_however_often_it_happens(plugins_with: PluginsWith) -> None:
    plugins = plugins_with(bad=HOOK + "def kitty_merged(landing):\n    1 / 0\n")
    plugins.observe("kitty_merged", landing=None)
    plugins.observe("kitty_merged", landing=None)
    assert "ZeroDivisionError" in only_fault(plugins, "bad")


def test_a_plugin_is_known_by_its_modules(plugins_with: PluginsWith) -> None:
    plugins = plugins_with(good=GOOD)
    assert plugins.plugin_of_module("plugin_kitty_good") == "good"
    assert plugins.plugin_of_module("plugin_kitty_good.deeper") == "good"
    assert plugins.plugin_of_module("kitty_host.repo") == "host"
    assert plugins.plugin_of_module("json") is None


# Plugins that are missing


def missing_command(project: Project) -> Result:
    return project.kitty("no-such-command", "--json")


def test_an_unknown_command_is_a_slip_of_the_finger_where_every_plugin_is_there(
    project: Project, alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kitty_host.plugins.own_distributions", lambda: frozenset({"kitty-host"}))
    result = missing_command(project)
    assert (result.exit_code, result.code) == (2, "USAGE")


def test_an_unknown_command_names_the_distributions_that_are_not_there(
    project: Project, alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kitty_host.plugins.own_distributions", lambda: frozenset({"kitty-host", "kitty-absent"}))
    result = missing_command(project)
    assert (result.exit_code, result.code) == (1, "PLUGIN_MISSING")
    assert result.json["details"]["distributions"] == ["kitty-absent"]
    assert "pip install kitty-absent" in result.json["hint"]
    monkeypatch.setattr("kitty_host.plugins.own_distributions", lambda: frozenset({"kitty-absent", "kitty-other"}))
    assert "run: pip install 'kitty-host[all]'" in missing_command(project).json["hint"]
    assert "run: pip install kitty-other" in project.kitty("other", "--json").json["hint"], (
        "it bears the command's name"
    )


def test_a_plugin_sees_the_children_of_a_command(install: Install, project: Project) -> None:
    site = install("good", GOOD)
    assert str(site) in sys.path
    assert str(site) in os.environ["PYTHONPATH"]
    assert "GOOD" in project.process("doctor").stdout


def test_records_of_the_door_are_plain_tuples() -> None:
    assert Command("a", "b:c", "D.") == ("a", "b:c", "D.")
    assert Finding("A", "b") == ("A", "b", "", "block", "")
