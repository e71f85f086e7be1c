"""Where hooks, drivers, rerere or an old Git count, Git itself merges: no hook is skipped, and a question runs none."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kitty_host.api import KittyError
from kitty_host.git import GitError
from kitty_host.repo import Repo
from kitty_host.testing import Project, Result
from kitty_merge import trees
from kitty_merge.candidate import build
from kitty_merge.engine import HOOKS, demands, engine_for
from kitty_merge.heads import read_heads
from kitty_merge.preview import forecast
from kitty_merge.scratch import directory, remove_scratches, scratch

if TYPE_CHECKING:
    from conftest import Yard

SIGNS = "#!/bin/sh\necho 'Seen: yes' >>\"$1\"\n"
REFUSES = "#!/bin/sh\necho the rules say no\necho and no again >&2\nexit 1\n"


def hook(yard: Yard, name: str, script: str, place: str = ".git/hooks") -> None:
    yard.project.write(f"{place}/{name}", script).chmod(0o755)


def ready(yard: Yard) -> None:
    """Two lanes, approved."""
    yard.plan(yard.package("WP01"), yard.package("WP02"))
    yard.finish("WP01")
    yard.finish("WP02")


def conflicting(yard: Yard) -> None:
    yard.plan(yard.package("WP01"), yard.package("WP02"))
    yard.finish("WP01", "one\n", path="shared.txt")
    yard.finish("WP02", "two\n", path="shared.txt")


def landed(yard: Yard, *arguments: str) -> Result:
    done = yard.project.process("merge", "--json", *arguments)
    assert done.exit_code == 0, done
    return done


def new_messages(yard: Yard, old: str) -> list[str]:
    """Of the commits that a landing made, which are on no lane."""
    refs = yard.project.git("for-each-ref", "--format=%(refname)", "refs/heads").splitlines()
    lanes = [ref for ref in refs if "-lane-" in ref]
    made = yard.project.git("rev-list", "main", "--not", old, *lanes).splitlines()
    return [yard.project.git("log", "-1", "--format=%B", commit) for commit in made]


# Hooks


def test_every_commit_of_a_landing_goes_through_the_message_hooks(yard: Yard) -> None:
    ready(yard)
    old = yard.project.git("rev-parse", "main")
    hook(yard, "commit-msg", SIGNS)
    hook(yard, "prepare-commit-msg", '#!/bin/sh\necho "Source: $2" >>"$1"\n')
    landed(yard)
    told = new_messages(yard, old)
    assert sorted(message.count("Source: merge") for message in told) == [0, 1, 1]
    assert sorted(message.count("Source: message") for message in told) == [0, 0, 1]
    assert [message.count("Seen: yes") for message in told] == [1, 1, 1]


def test_a_squash_goes_through_the_message_hooks_once(yard: Yard) -> None:
    ready(yard)
    old = yard.project.git("rev-parse", "main")
    hook(yard, "commit-msg", SIGNS)
    landed(yard, "--strategy", "squash")
    [told] = new_messages(yard, old)
    assert told.count("Seen: yes") == 1
    assert "Kitty-Lane: lane-a" in told


@pytest.mark.parametrize("strategy", ["merge", "squash"])
@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_that_refuses_stops_everything(yard: Yard, name: str, strategy: str) -> None:
    ready(yard)
    hook(yard, name, REFUSES)
    before = (yard.project.git("for-each-ref"), yard.status(), yard.mission.ledger.lines())
    done = yard.project.process("merge", "--json", "--strategy", strategy)
    assert (done.exit_code, done.code) == (1, "COMMIT_REFUSED")
    assert name in done.json["message"]
    assert str(yard.root / ".git/hooks") in done.json["hint"]
    assert "the rules say no\nand no again\n" in done.stderr
    assert (yard.project.git("for-each-ref"), yard.status(), yard.mission.ledger.lines()) == before
    (yard.root / ".git/hooks" / name).unlink()
    landed(yard)


def test_a_hook_that_refuses_only_the_last_commit_gives_every_lock_back(yard: Yard) -> None:
    ready(yard)
    hook(yard, "commit-msg", '#!/bin/sh\n! grep -q ^Land "$1"\n')
    before = yard.project.git("for-each-ref")
    done = yard.project.process("merge", "--json")
    assert (done.exit_code, done.code) == (1, "COMMIT_REFUSED")
    assert yard.project.git("for-each-ref") == before
    assert not (yard.root / ".git/index.lock").exists()
    assert yard.project.kitty("merge", "--status", "--json").json["unfinished"] == []


def test_a_hook_that_empties_the_message_refuses(yard: Yard) -> None:
    ready(yard)
    hook(yard, "prepare-commit-msg", '#!/bin/sh\n: >"$1"\n')
    with pytest.raises(KittyError, match="COMMIT_REFUSED"):
        build(yard.mission)


def test_a_hook_before_a_merge_sees_the_merged_files_and_its_own_environment(yard: Yard) -> None:
    ready(yard)
    seen = yard.root.parent / "seen"
    script = f"#!/bin/sh\n{{ pwd; ls; env; git diff --cached --name-only -- '*1.txt' '*2.txt'; }} >>{seen}\n"
    hook(yard, "pre-merge-commit", script)
    build(yard.mission)
    told = seen.read_text().splitlines()
    assert told.count("README.md") == 2
    assert told.count("wp01.txt") == 3, "in the file lists of both merges, and as what the first one changes"
    assert told.count("wp02.txt") == 2
    assert told[0].startswith(str(yard.root / ".git/kitty/scratch"))
    assert "GIT_EDITOR=:" in told
    assert not [line for line in told if line.startswith(("GIT_LITERAL_PATHSPECS=", "GIT_OPTIONAL_LOCKS="))]


def test_what_a_hook_before_a_merge_stages_is_committed(yard: Yard) -> None:
    ready(yard)
    hook(yard, "pre-merge-commit", "#!/bin/sh\necho generated >made.txt && git add made.txt\n")
    landed(yard)
    assert yard.tree("made.txt").read_text() == "generated\n"
    assert yard.status() == ""


def test_hooks_of_the_checkout_run_although_the_scratch_worktree_has_none(yard: Yard) -> None:
    yard.project.commit(".gitignore", ".worktrees/\n.hooks/\n")
    ready(yard)
    yard.project.git("config", "core.hooksPath", ".hooks")
    hook(yard, "commit-msg", SIGNS, ".hooks")
    assert "Seen: yes" in yard.project.git("log", "-1", "--format=%B", build(yard.mission).tip)


def test_a_question_runs_nobodys_hooks(yard: Yard) -> None:
    ready(yard)
    for name in HOOKS:
        hook(yard, name, REFUSES)
    foretold = forecast(yard.mission, read_heads(yard.mission))
    assert foretold is not None
    assert foretold.clean
    assert yard.project.process("merge", "--preview").stderr == ""
    assert not directory(yard.mission.repo).exists()


def test_a_hook_that_is_not_executable_is_none(yard: Yard) -> None:
    ready(yard)
    yard.project.write(".git/hooks/commit-msg", REFUSES).chmod(0o644)
    landed(yard)


def test_a_dry_run_hears_the_hooks(yard: Yard) -> None:
    ready(yard)
    hook(yard, "commit-msg", REFUSES)
    assert yard.project.process("merge", "--dry-run", "--json").code == "COMMIT_REFUSED"


def test_post_merge_runs_once_and_only_when_something_has_landed(yard: Yard) -> None:
    ready(yard)
    runs = yard.root.parent / "runs"
    hook(yard, "post-merge", f"#!/bin/sh\necho ran >>{runs}\n")
    hook(yard, "post-checkout", f"#!/bin/sh\necho checkout >>{runs}\n")
    hook(yard, "commit-msg", SIGNS)
    yard.project.process("merge", "--dry-run")
    assert not runs.exists()
    landed(yard)
    assert runs.read_text() == "ran\n"


def test_the_candidate_is_the_same_with_hooks_and_without(yard: Yard) -> None:
    ready(yard)
    aside = build(yard.mission)
    hook(yard, "commit-msg", SIGNS)
    native = build(yard.mission)
    assert (native.key, native.tree) == (aside.key, aside.tree)
    assert native.tip != aside.tip


def test_lanes_that_conflict_are_named_by_either_engine(yard: Yard) -> None:
    conflicting(yard)
    told = []
    for _ in range(2):
        with pytest.raises(KittyError, match="MERGE_CONFLICT") as caught:
            build(yard.mission)
        # The chain's own commits have the time in them.
        details = {key: value for key, value in caught.value.details.items() if key != "tip"}
        told.append((caught.value.message, caught.value.hint, details))
        hook(yard, "commit-msg", SIGNS)
    assert told[0] == told[1]


# Settings


def test_a_driver_finds_what_the_repository_brings(yard: Yard) -> None:
    yard.project.write("tools/join", '#!/bin/sh\ncat "$1" "$2" >"$1.new" && mv "$1.new" "$1"\n').chmod(0o755)
    yard.project.write(".gitattributes", "shared.txt merge=join\n")
    yard.project.git("add", ".gitattributes", "tools")
    yard.project.git("commit", "--quiet", "-m", "driver")
    yard.project.git("config", "merge.join.driver", "./tools/join %A %B")
    conflicting(yard)
    assert yard.project.git("show", f"{build(yard.mission).tip}:shared.txt") == "one\ntwo"


@pytest.mark.parametrize("unseen", [True, False])
def test_a_resolution_that_rerere_knows_lands_where_the_user_wants_it_unseen(yard: Yard, unseen: bool) -> None:
    conflicting(yard)
    git = yard.project.git
    git("config", "rerere.enabled", "true")
    git("config", "rerere.autoUpdate", str(unseen).lower())
    git("switch", "--quiet", "--detach", "main")
    git("merge", "--quiet", "--no-ff", "-m", "a", yard.branch("WP01"))
    git("merge", "--quiet", yard.branch("WP02"), check=False)
    yard.project.write("shared.txt", "settled\n")
    git("add", "shared.txt")
    git("commit", "--quiet", "-m", "settled")
    git("switch", "--quiet", "main")
    if unseen:
        assert git("show", f"{build(yard.mission).tip}:shared.txt") == "settled"
    else:
        with pytest.raises(KittyError, match="MERGE_CONFLICT"):
            build(yard.mission)


def test_where_somebody_has_used_rerere_git_itself_merges(yard: Yard) -> None:
    repo = Repo.find(yard.root)
    assert not demands(Repo.find(yard.root)).native
    (repo.common / "rr-cache").mkdir()
    assert demands(Repo.find(yard.root)).rerere
    yard.project.git("config", "rerere.enabled", "no")
    assert not demands(Repo.find(yard.root)).native


@pytest.mark.parametrize("value", ["true", "yes", "on", "1"])
def test_settings_are_read_as_git_reads_them(yard: Yard, value: str) -> None:
    yard.project.git("config", "merge.verifySignatures", value)
    assert demands(Repo.find(yard.root)).signatures
    yard.project.git("config", "merge.verifySignatures", "0")
    assert not demands(Repo.find(yard.root)).native


def test_a_lane_without_a_signature_does_not_land_where_signatures_are_verified(yard: Yard) -> None:
    ready(yard)
    yard.project.git("config", "merge.verifySignatures", "true")
    done = yard.project.process("merge", "--json")
    assert (done.exit_code, done.code) == (1, "GIT_FAILED")
    assert "signature" in done.json["message"]


def test_a_git_without_merge_tree_lands_too(yard: Yard, isolated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ready(yard)
    real = shutil.which("git")
    old = isolated / "old" / "git"
    old.parent.mkdir()
    old.write_text(
        "#!/bin/sh\nfor one; do case $one in\n"
        "  version) echo git version 2.37.1; exit;;\n"
        "  merge-tree) echo usage >&2; exit 129;;\n"
        f'esac; done\nexec {real} "$@"\n'
    )
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(old.parent), prepend=":")
    with pytest.raises(GitError):
        trees.merge(yard.mission.repo.git, "HEAD", yard.branch("WP01"))
    landed(yard)


def test_an_error_of_git_is_no_conflict(yard: Yard) -> None:
    ready(yard)
    orphan = yard.project.git("commit-tree", "-m", "unrelated", yard.project.git("write-tree"))
    with pytest.raises(GitError):
        trees.merge(yard.mission.repo.git, "main", orphan)
    for name in ("", "commit-msg"):
        if name:
            hook(yard, name, SIGNS)
        with engine_for(yard.mission.repo) as engine, pytest.raises(GitError):
            engine.merge(yard.project.git("rev-parse", "main"), orphan, "message")
    with pytest.raises(GitError):
        forecast_of_a_broken_lane(yard, orphan)


def forecast_of_a_broken_lane(yard: Yard, orphan: str) -> None:
    yard.project.git("update-ref", f"refs/heads/{yard.branch('WP01')}", orphan)
    forecast(yard.mission, read_heads(yard.mission))


def test_a_submodule_that_two_lanes_move_forward_is_at_the_newer_commit(
    yard: Yard, make_project: Callable[[str], Project]
) -> None:
    inner, git = make_project("inner"), yard.project.git
    git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner.root), "vendor/inner")
    git("commit", "--quiet", "-m", "submodule")
    submodule = yard.root / "vendor/inner"
    commits = [inner.git("rev-parse", "HEAD"), inner.commit("a.txt"), inner.commit("b.txt")]
    git("fetch", "--quiet", where=submodule)
    repo, tip = Repo.find(yard.root), git("rev-parse", "HEAD")
    heads = []
    for commit in commits[1:]:
        tree = trees.with_entries(repo, tip, {"vendor/inner": trees.Entry("160000", commit)})
        heads.append(repo.git.commit_tree(tree, [tip], "lane"))
    for name in ("", "commit-msg"):
        if name:
            hook(yard, name, SIGNS)
        with engine_for(repo) as engine:
            merged = engine.merge(*heads, "message")
        repo.git.objects.flush()
        assert merged.conflicts == ()
        assert git("rev-parse", f"{merged.commit}:vendor/inner") == commits[2]
    remove_scratches(repo)
    assert git("rev-parse", "HEAD", where=submodule) == commits[0]


def test_a_conflict_without_a_path_is_one_for_either_engine(yard: Yard) -> None:
    """The files of a directory are renamed into two; where does a new one of the other side belong?"""
    repo, git = Repo.find(yard.root), yard.project.git
    for name in "abcd":
        yard.project.write(f"old/{name}", f"{name}\n" * 9)
    git("add", "old")
    git("commit", "--quiet", "-m", "files")
    tip = git("rev-parse", "HEAD")
    blobs = trees.entries(repo.git, tip, "old")
    gone: dict[str, trees.Entry | None] = dict.fromkeys(blobs)
    split = {path.replace("old", "one" if path[-1] in "ab" else "two"): entry for path, entry in blobs.items()}
    ours = repo.git.commit_tree(trees.with_entries(repo, tip, {**gone, **split}), [tip], "split")
    added = {"old/new": trees.Entry("100644", repo.git.write_blob(b"new\n"))}
    theirs = repo.git.commit_tree(trees.with_entries(repo, tip, added), [tip], "add")
    for name in ("", "commit-msg"):
        if name:
            hook(yard, name, SIGNS)
        with engine_for(repo) as engine, pytest.raises(KittyError, match="MERGE_CONFLICT"):
            engine.merge(ours, theirs, "message")


def test_line_endings_that_attributes_forbid_do_not_stop_a_merge(yard: Yard) -> None:
    """Git takes such a file for changed as soon as it is checked out, and does not write over it."""
    yard.project.write(".gitattributes", "*.bat eol=crlf\n")
    yard.project.git("add", ".gitattributes")
    for name in ("a.bat", "b.bat"):
        blob = Repo.find(yard.root).git.write_blob(b"".join(b"%d\r\n" % number for number in range(9)))
        yard.project.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{name}")
    yard.project.git("commit", "--quiet", "-m", "endings")
    yard.project.git("checkout", "--quiet", "--force", "HEAD")
    yard.project.git("config", "core.safecrlf", "false")
    hook(yard, "commit-msg", SIGNS)
    seen = yard.root.parent / "seen"
    hook(yard, "pre-merge-commit", f"#!/bin/sh\nls >>{seen}\n")
    repo = Repo.find(yard.root)
    tip = yard.project.git("rev-parse", "HEAD")
    blob = repo.git.write_blob(b"other\r\n")
    tree = trees.with_entries(repo, tip, {"a.bat": trees.Entry("100644", blob)})
    head = repo.git.commit_tree(tree, [tip], "lane")
    with engine_for(repo) as engine:
        merged = engine.merge(tip, head, "message")
    assert yard.project.git("rev-parse", f"{merged.commit}^{{tree}}") == tree
    assert "a.bat" in seen.read_text().splitlines()


# The scratch worktree


def places(yard: Yard) -> list[str]:
    found = yard.project.git("worktree", "list", "--porcelain").splitlines()
    return [line for line in found if line.startswith("worktree") and "/kitty/scratch/" in line]


def test_a_landing_leaves_no_scratch_worktree(yard: Yard) -> None:
    ready(yard)
    hook(yard, "commit-msg", SIGNS)
    build(yard.mission)
    assert len(places(yard)) == 1
    build(yard.mission)
    assert len(places(yard)) == 1, "it is used again"
    landed(yard)
    assert places(yard) == []
    assert not list((yard.root / ".git/worktrees").glob("merge-*"))


def test_a_scratch_worktree_is_nobodys_workspace(yard: Yard) -> None:
    repo = Repo.find(yard.root)
    with scratch(repo, files=True) as place:
        assert repo.worktrees() == [(yard.root, "refs/heads/main")]
        assert (place.place / "README.md").exists()


def test_a_scratch_worktree_is_not_taken_for_the_checkout_of_a_bare_repository(yard: Yard, isolated: Path) -> None:
    yard.project.git("clone", "--quiet", "--bare", str(yard.root), str(isolated / "bare.git"))
    checkout = isolated / "checkout"
    yard.project.git("worktree", "add", "--quiet", str(checkout), "main", where=isolated / "bare.git")
    with scratch(Repo.find(checkout), files=False):
        assert Repo.find(isolated / "bare.git").root == checkout


def test_two_at_once_have_one_each(yard: Yard) -> None:
    repo = Repo.find(yard.root)
    with scratch(repo, files=False) as one, scratch(repo, files=False) as other:
        assert one.place != other.place
        assert len(places(yard)) == 2
    with scratch(repo, files=False) as again:
        assert again.place == one.place


def test_without_files_only_what_git_reads_is_written(yard: Yard) -> None:
    yard.project.commit("sub/.gitattributes", "*.x -text\n")
    with scratch(Repo.find(yard.root), files=True) as place:
        pass
    with scratch(Repo.find(yard.root), files=False) as place:
        found = {path.relative_to(place.place).as_posix() for path in place.place.rglob("*")}
        assert found == {".git", "sub", "sub/.gitattributes"}


def _locked(place: Path, state: Path) -> None:
    (state / "locked").write_text("initializing")


def _locked_and_gone(place: Path, state: Path) -> None:
    (state / "locked").write_text("initializing")
    shutil.rmtree(place)


def _without_its_link(place: Path, state: Path) -> None:
    (state / "locked").write_text("initializing")
    (place / ".git").unlink()


def _pruned(place: Path, state: Path) -> None:
    shutil.rmtree(state)


def _lock_of_git(place: Path, state: Path) -> None:
    (state / "index.lock").touch()


def _lock_that_only_a_merge_meets(place: Path, state: Path) -> None:
    (state / "ORIG_HEAD.lock").touch()


def _torn_index(place: Path, state: Path) -> None:
    (state / "index").write_bytes(b"DIRC")


def _torn_head(place: Path, state: Path) -> None:
    (state / "HEAD").write_bytes(b"")


def _litter(place: Path, state: Path) -> None:
    (place / "README.md").write_text("half")
    (place / "wp01.txt").write_text("in the way")
    (place / "other.txt").write_text("nobody's")


DAMAGE = (
    _locked,
    _locked_and_gone,
    _without_its_link,
    _pruned,
    _lock_of_git,
    _lock_that_only_a_merge_meets,
    _torn_index,
    _torn_head,
    _litter,
)


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("files", [True, False])
def test_what_a_killed_run_left_is_cleaned(yard: Yard, damage: Callable[[Path, Path], None], files: bool) -> None:
    ready(yard)
    repo = yard.mission.repo
    with scratch(repo, files=files) as place:
        place.stand_at(yard.branch("WP01"))
        kept = place.place, place.state
    damage(*kept)
    if damage is _locked_and_gone:
        yard.project.git("worktree", "prune")
    hook(yard, "pre-merge-commit", "#!/bin/sh\ntest -z \"$(git status --porcelain -uall | grep -v '^A')\"\n")
    build(yard.mission)
    assert len(places(yard)) == 1
    assert not list((yard.root / ".git/worktrees").glob("merge-*/locked"))
    landed(yard)
    assert places(yard) == []
    assert not list((yard.root / ".git/worktrees").glob("merge-*"))


def test_a_scratch_worktree_that_was_removed_by_hand_is_pruned_by_git(yard: Yard) -> None:
    with scratch(Repo.find(yard.root), files=False) as place:
        pass
    shutil.rmtree(place.place)
    yard.project.git("worktree", "prune")
    assert places(yard) == []


# Signatures


@pytest.mark.parametrize("strategy", ["merge", "squash"])
@pytest.mark.parametrize("with_hook", [True, False])
def test_every_commit_is_signed_where_the_user_wants_it(
    yard: Yard, isolated: Path, with_hook: bool, strategy: str
) -> None:
    key = isolated / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    signers = isolated / "signers"
    signers.write_text(f"test@example.invalid {key.with_suffix('.pub').read_text()}")
    settings = {
        "gpg.format": "ssh",
        "user.signingKey": str(key),
        "gpg.ssh.allowedSignersFile": str(signers),
        "commit.gpgSign": "true",
    }
    for name, value in settings.items():
        yard.project.git("config", name, value)
    if with_hook:
        hook(yard, "commit-msg", SIGNS)
    before = yard.project.git("rev-parse", "HEAD")
    ready(yard)
    landed(yard, "--strategy", strategy)
    made = yard.project.git("rev-list", "--all", "--not", before).splitlines()
    unsigned = [one for one in made if "\ngpgsig " not in yard.project.git("cat-file", "commit", one)]
    assert [yard.project.git("log", "-1", "--format=%D %s", one) for one in unsigned] == []
    assert yard.project.git("log", "-1", "--format=%G?", "main") == "G"
    assert len(made) > 3
