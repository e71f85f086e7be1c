"""The user's content filters that must not fail, tried before anything moves: Git writes files only after the target has moved."""

from __future__ import annotations

from collections.abc import Iterable

from kitty_host.api import KittyError
from kitty_host.git import GitError
from kitty_host.repo import Repo
from kitty_merge import trees


def require_filters(repo: Repo, commit: str, changes: Iterable[trees.Change]) -> None:
    """Smudge what a checkout of these changes would smudge by a required filter, to nowhere. Errors: `FILTER_FAILED`."""
    required = _required(repo)
    blobs = {change.path: change.new.blob for change in changes if change.new and change.new.mode.startswith("100")}
    if not required or not blobs:
        return
    # As in the checkout then: by the attributes that land.
    there = trees.beside(repo, commit)
    asked = "".join(f"{path}\0" for path in blobs).encode(errors="surrogateescape")
    told = iter(there.records("check-attr", "-z", "--stdin", "filter", stdin=asked))
    for path, _, name in zip(told, told, told, strict=True):
        if name in required:
            try:
                there.run("cat-file", "--filters", f"--path={path}", blobs[path])
            except GitError as error:
                raise KittyError(
                    "FILTER_FAILED",
                    f"the filter {name} fails for {path}: {error.message}; nothing has moved",
                    f"mend it and run it again: git config --get-regexp 'filter[.]{name}[.]'",
                    path=path,
                    filter=name,
                ) from error


def _required(repo: Repo) -> set[str]:
    """The names of filters without which there shall be no file."""
    named = (name for name in repo.git.settings if name.startswith("filter.") and name.endswith(".required"))
    return {name.removeprefix("filter.").removesuffix(".required") for name in named if repo.git.is_set(name)}
