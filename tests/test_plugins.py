"""Whatever a plugin does wrong is one listed fault; everything else goes on."""

from __future__ import annotations

import os
import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kitty_host.api import Command, Finding, KittyError
from kitty_host.plugins import Entry, PluginFault, Plugins, find_entries
from kitty_host.testing import Project, Result

HOOK = "from kitty_host.api import Command, Finding, hookimpl\n@hookimpl\n"
GREET = HOOK + "def kitty_commands():\n    return [Command('greet', 'NAME_cli:greet', 'Greet.')]\n"
GREET_CLI = "import click\n@click.command()\ndef greet():\n    click.echo('hello from NAME')\n"
GOOD = HOOK + "def kitty_doctor(repo):\n    return [Finding('GOOD', 'I am well', severity='info')]\n"

Install = Callable[..., Path]


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
    assert result.exit_code == 0, result
    return result.json["faults"]


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


# Entry points as they lie on the disk


def metadata(site: Path, name: str, text: str | bytes, kind: str = "dist-info") -> None:
    place = site / f"{name}.{kind}"
    place.mkdir(parents=True, exist_ok=True)
    (place / "entry_points.txt").write_bytes(text.encode() if isinstance(text, str) else text)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "packages"
    place.mkdir()
    monkeypatch.syspath_prepend(str(place))
    return place


def test_comments_extras_spaces_and_other_groups_are_understood(site: Path) -> None:
    metadata(
        site,
        "My.Odd_Plugin-2.0",
        "# a comment\n[console_scripts]\nkitty = elsewhere:main\n\n[kitty]\n#off = nothing\n"
        "  odd = odd.plugin [extra]\n\n[other]\nodd = no\n",
    )
    assert Entry("odd", "odd.plugin", "my-odd-plugin", "2.0") in find_entries()
    assert not [entry for entry in find_entries() if "off" in entry.name or entry.target == "elsewhere:main"]


def test_an_egg_link_counts_too(site: Path) -> None:
    metadata(site, "old_style-1.0-py3.11", "[kitty]\nold = old.plugin\n", "egg-info")
    assert Entry("old", "old.plugin", "old-style", "1.0") in find_entries()


def test_of_two_copies_of_a_distribution_the_first_on_the_path_counts(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata(site, "twice-1.0", "[kitty]\ntwice = old.plugin\n")
    first = tmp_path / "first"
    metadata(first, "twice-2.0", "[kitty]\ntwice = new.plugin\n")
    monkeypatch.syspath_prepend(str(first))
    assert [entry for entry in find_entries() if entry.name == "twice"] == [
        Entry("twice", "new.plugin", "twice", "2.0")
    ]


def test_a_zipped_distribution_is_a_distribution(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = alone / "zipped.zip"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("zipped_plugin.py", GOOD)
        made.writestr("kitty_zipped-1.0.dist-info/entry_points.txt", "[kitty]\nzipped = zipped_plugin\n")
    monkeypatch.syspath_prepend(str(archive))
    monkeypatch.setenv("KITTY_PLUGINS", "zipped")
    plugins = Plugins.discover()
    assert plugins.faults == []
    assert plugins.entries["zipped"].distribution == "kitty-zipped"
    assert plugins.hooks_of("zipped") == ["kitty_doctor"]


@pytest.mark.parametrize(
    "text", [b"[kitty]\nodd = odd\n# caf\xe9\n", b"\xff\xfe[kitty]", b"", b"[kitty]\n=\n", b"[kitty]\nx =\n"]
)
@pytest.mark.parametrize("zipped", [False, True])
def test_metadata_that_cannot_be_read_harms_nobody(
    site: Path, project: Project, alone: Path, monkeypatch: pytest.MonkeyPatch, text: bytes, zipped: bool
) -> None:
    metadata(site, "odd-1.0", text)
    if zipped:
        with zipfile.ZipFile(alone / "odd.zip", "w") as made:
            made.writestr("odd-1.0.dist-info/entry_points.txt", text)
        monkeypatch.syspath_prepend(str(alone / "odd.zip"))
    assert project.kitty("plugins", "list").exit_code == 0


def test_odd_places_on_the_path_harm_nobody(project: Project, alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (alone / "no.zip").write_bytes(b"PK this is no archive")
    (alone / "x.dist-info").touch()
    for place in (alone / "missing", alone / "no.zip", alone):
        monkeypatch.syspath_prepend(str(place))
    monkeypatch.syspath_prepend("")
    assert project.kitty("plugins", "list").exit_code == 0


# Calling hooks


def plugins_with(install: Install, **sources: str) -> Plugins:
    for name, source in sources.items():
        install(name, source)
    return Plugins.discover()


def test_the_first_answer_wins_and_later_ones_are_not_asked(install: Install, alone: Path) -> None:
    hook = HOOK + "def kitty_brief(repo):\n    return repo + ' NAME'\n"
    quiet = HOOK + "def kitty_brief(repo):\n    return None\n"
    last = hook.replace("@hookimpl", "@hookimpl(trylast=True)")
    plugins = plugins_with(install, a=last.replace("NAME", "a"), b=hook.replace("NAME", "b"), c=quiet)
    assert plugins.first("kitty_brief", repo="x") == "x b"
    assert plugins.implementers("kitty_brief")[-1] == "a"


def test_a_wrapper_surrounds_the_answer(install: Install, alone: Path) -> None:
    wrapper = "from kitty_host.api import hookimpl\n@hookimpl(wrapper=True)\ndef kitty_brief(repo):\n    return (yield) + ' wrapped'\n"
    plugins = plugins_with(install, a=HOOK + "def kitty_brief(repo):\n    return repo\n", w=wrapper)
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
def test_a_failing_answer_names_its_plugin(install: Install, alone: Path, failure: str) -> None:
    plugins = plugins_with(install, bad=HOOK + f"def kitty_brief(repo):\n    raise {failure}\n")
    with pytest.raises(PluginFault, match="plugin bad: kitty_brief failed") as failed:
        plugins.first("kitty_brief", repo=None)
    assert failed.value.plugin == "bad"


def test_a_refusal_of_a_plugin_passes_as_it_is(install: Install, alone: Path) -> None:
    source = (
        "from kitty_host.api import KittyError\n"
        + HOOK
        + "def kitty_brief(repo):\n    raise KittyError('NO', 'no', 'yes')\n"
    )
    plugins = plugins_with(install, bad=source)
    with pytest.raises(KittyError, match="NO: no"):
        plugins.first("kitty_brief", repo=None)


def test_answers_are_collected_from_all_and_failures_left_out(install: Install, alone: Path) -> None:
    plugins = plugins_with(
        install,
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


def test_a_fault_is_listed_once_however_often_it_happens(install: Install, alone: Path) -> None:
    plugins = plugins_with(install, bad=HOOK + "def kitty_merged(landing):\n    1 / 0\n")
    plugins.observe("kitty_merged", landing=None)
    plugins.observe("kitty_merged", landing=None)
    assert "ZeroDivisionError" in only_fault(plugins, "bad")


def test_a_plugin_is_known_by_its_modules(install: Install, alone: Path) -> None:
    plugins = plugins_with(install, good=GOOD)
    assert plugins.plugin_of_module("plugin_kitty_good") == "good"
    assert plugins.plugin_of_module("plugin_kitty_good.deeper") == "good"
    assert plugins.plugin_of_module("kitty_host.repo") == "host"
    assert plugins.plugin_of_module("json") is None


# What is said about plugins


def test_the_list_shows_who_is_there_and_what_they_do(install: Install, project: Project) -> None:
    install("good", GOOD)
    result = project.kitty("plugins", "list", "--json").json
    assert result["schema"] == "kitty.plugins/1"
    [good] = [row for row in result["plugins"] if row["name"] == "good"]
    assert good == {
        "name": "good",
        "distribution": "kitty-good",
        "version": "1.0",
        "hooks": ["kitty_doctor"],
        "state": "loaded",
    }
    assert "kitty-good 1.0" in project.kitty("plugins", "list").stdout


def missing_command(project: Project) -> Result:
    return project.kitty("no-such-command", "--json")


def test_an_unknown_command_is_a_slip_of_the_finger_where_every_plugin_is_there(
    project: Project, alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kitty_host.plugins._own_distributions", lambda: frozenset({"kitty-host"}))
    result = missing_command(project)
    assert (result.exit_code, result.code) == (2, "USAGE")


def test_an_unknown_command_names_the_distributions_that_are_not_there(
    project: Project, alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kitty_host.plugins._own_distributions", lambda: frozenset({"kitty-host", "kitty-absent"}))
    result = missing_command(project)
    assert (result.exit_code, result.code) == (1, "PLUGIN_MISSING")
    assert result.json["details"]["distributions"] == ["kitty-absent"]
    assert "pip install kitty-absent" in result.json["hint"]


def test_a_plugin_sees_the_children_of_a_command(install: Install, project: Project) -> None:
    site = install("good", GOOD)
    assert str(site) in sys.path
    assert str(site) in os.environ["PYTHONPATH"]
    assert "GOOD" in project.process("doctor").stdout


def test_records_of_the_door_are_plain_tuples() -> None:
    assert Command("a", "b:c", "D.") == ("a", "b:c", "D.")
    assert Finding("A", "b") == ("A", "b", "", "block", "")
