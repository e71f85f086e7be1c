"""Entry points are understood as they lie on the disk, and the roles of the extras as the host's own metadata has them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from kitty_host import discovery
from kitty_host.discovery import Entry, find_entries, own_distributions, roles
from kitty_host.plugins import Plugins
from kitty_host.testing import Project

MANIFEST = "from kitty_host.api import hookimpl\n@hookimpl\ndef kitty_doctor(repo):\n    return []\n"


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
        made.writestr("zipped_plugin.py", MANIFEST)
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


@pytest.mark.parametrize(
    "everything",
    [
        ["kitty-host[merge,sync]; extra == 'all'"],
        ["kitty-merge<1,>=0.1; extra == 'all'", "kitty-sync<1,>=0.1; extra == 'all'"],
    ],
    ids=["as it is written", "as a wheel has it"],
)
def test_each_extra_is_a_role(everything: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        "click>=8.2",
        "filelock>=3.13; sys_platform == 'win32'",
        'kitty-merge<1,>=0.1; extra == "merge"',
        "kitty-sync<1,>=0.1; extra == 'sync'",
        *everything,
    ]
    monkeypatch.setattr("importlib.metadata.requires", lambda name: lines if name == discovery.HOST else None)
    assert roles() == {"merge": "kitty-merge", "sync": "kitty-sync"}
    assert own_distributions() == {"kitty-host", "kitty-merge", "kitty-sync"}
