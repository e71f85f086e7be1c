"""Commits of planning files: exactly the named files, with the user's hooks, leaving whatever else is staged as it is."""

from __future__ import annotations

from collections.abc import Sequence

from kitty_host.api import KittyError
from kitty_host.repo import Repo


def commit_files(repo: Repo, paths: Sequence[str], message: str) -> str | None:
    """Commit these files as they are on disk; None where nothing differs from HEAD.

    Errors: `COMMIT_REFUSED` where a hook or a protected branch stops it: the files stay as they are.
    """
    git = repo.git
    untracked = git.records("ls-files", "-z", "--others", "--", *paths)
    if untracked:
        git.run("add", "--intent-to-add", "--force", "--", *untracked)
    if not untracked and git.succeeds("diff", "--quiet", "HEAD", "--", *paths):
        return None
    try:
        git.commit("-m", message, paths=paths)
    except KittyError as error:
        if untracked:
            git.run("reset", "--quiet", "--", *untracked, ok=range(256))
        raise KittyError(
            "COMMIT_REFUSED",
            f"Git did not commit {', '.join(paths)}: {error.message}",
            f"mend that, or commit by hand: git add -- {' '.join(paths)} && git commit",
            paths=list(paths),
        ) from error
    return git.out("rev-parse", "HEAD")
