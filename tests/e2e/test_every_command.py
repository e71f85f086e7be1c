"""What holds for every command there is, whoever brings it: the list is taken from the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator

import click

from kitty_host.cli import Kitty
from kitty_host.plugins import Plugins
from kitty_host.testing import Project

WORDS = {"wp": "WP01", "lane": "blocked", "status": "done", "ids": "T001", "action": "implement", "version": "1.0"}
MORE = {"intake": ["plan.md"], "review": ["--claim"], "effort": ["--seconds", "1"]}
WITHOUT_A_REPOSITORY = {
    "init": "makes one ready",
    "demo": "makes one of its own",
    "mission types": "speaks of what is installed",
    "plugins list": "speaks of kitty itself",
    "plugins doctor": "speaks of kitty itself",
}


def commands() -> dict[str, click.Command]:
    """Every command that does something, by its words."""

    def below(found: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
        if not isinstance(found, click.Group):
            yield name.strip(), found
            return
        context = click.Context(found)
        for one in found.list_commands(context):
            child = found.get_command(context, one)
            assert child is not None
            yield from below(child, f"{name} {one}")

    return dict(below(Kitty(Plugins.discover()), ""))


def typed(name: str, command: click.Command) -> list[str]:
    """A command with all that it cannot do without."""
    words = name.split()
    for one in command.params:
        if one.required:
            flag = [one.opts[0]] if isinstance(one, click.Option) else []
            words += [*flag, WORDS.get(str(one.name), "x")]
    return words + MORE.get(name, [])


def test_where_nothing_is_initialized_every_command_refuses_and_writes_nothing(project: Project) -> None:
    """Beside a repository that is, with what it would need if it went on."""
    sibling = Project(project.root.parent / "sibling")
    sibling.root.mkdir()
    sibling.git("init", "--quiet", "-b", "main")
    sibling.commit("plan.md", "# A plan\n")
    found = commands()
    assert len(found) > 35
    assert WITHOUT_A_REPOSITORY.keys() < found.keys()
    before = project.snapshot()
    told: dict[str, tuple[int, str]] = {}
    for name, command in found.items():
        if name not in WITHOUT_A_REPOSITORY:
            done = sibling.kitty(*typed(name, command), "--json")
            told[name] = (done.exit_code, str(done.json.get("code")))
            assert project.snapshot() == before, f"{name} wrote something"
            if told[name][1] == "SPEC_KITTY_REPO_NOT_INITIALIZED":
                assert done.json["hint"] == f"run: kitty -C {sibling.root} init"
                assert str(sibling.root) in done.json["message"]
    others = {name: said for name, said in told.items() if said != (1, "SPEC_KITTY_REPO_NOT_INITIALIZED")}
    assert others == {name: (1, "SYNC_DISABLED") for name in found if name.startswith("sync ")}


def test_the_old_name_of_the_option_works_wherever_the_new_one_does(project: Project) -> None:
    """Hidden from help; where both are given they have to agree."""
    project.mission("one", [{"work_package_id": "WP01"}])
    found = {
        name: command for name, command in commands().items() if any(one.name == "mission" for one in command.params)
    }
    assert len(found) > 20
    project.write(".git/kitty/merge.lock", "")  # which `merge` takes before it asks for the mission
    before = project.snapshot()
    for name, command in found.items():
        [old] = [one for one in command.params if one.name == "feature"]
        assert isinstance(old, click.Option)
        assert (old.opts, old.hidden) == (["--feature"], True)
        assert "--feature" not in project.kitty(*name.split(), "--help").stdout
        both = project.kitty(*typed(name, command), "--feature", "one", "--mission", "two", "--json")
        assert (both.exit_code, both.json.get("code")) == (1, "MISSION_AMBIGUOUS_SELECTOR"), name
        alone = project.kitty(*typed(name, command), "--feature", "nobody", "--json")
        assert (alone.exit_code, alone.json.get("code")) == (1, "MISSION_NOT_FOUND"), name
    assert project.snapshot() == before
