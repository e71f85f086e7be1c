"""Repositories to measure in: with a planned mission, and with one whose lanes are all approved."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from measure import KITTY


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout.strip()


def repository(root: Path, *, packages: int, owned: bool = True) -> Path:
    """An initialized repository with one finalized mission; nothing is claimed."""
    root.mkdir(parents=True)
    git(root, "init", "--quiet", "--initial-branch=work")
    for key, value in (("user.name", "bench"), ("user.email", "bench@kitty.invalid"), ("gc.auto", "0")):
        git(root, "config", key, value)
    git(root, "commit", "--quiet", "--allow-empty", "-m", "first")
    for arguments in (["init"], ["mission", "create", "bench"]):
        subprocess.run([KITTY, "-C", root, *arguments], check=True, capture_output=True)
    (mission,) = (path for path in (root / "kitty-specs").iterdir() if path.is_dir())
    (mission / "tasks").mkdir()
    for name, headings in (
        ("spec", ("Goal", "Requirements", "Done when")),
        ("plan", ("Approach", "Work packages")),
        ("tasks", ("Work packages",)),
    ):
        (mission / f"{name}.md").write_text("# x\n\n" + "\n".join(f"## {heading}\n\nx\n" for heading in headings))
    for number in range(1, packages + 1):
        front = {
            "work_package_id": f"WP{number:02}",
            "title": f"Package {number}",
            "dependencies": [],
            "owned_files": [f"lane{number}/**"],
        }
        (mission / "tasks" / f"WP{number:02}-x.md").write_text(
            "---\n" + "".join(f"{key}: {json.dumps(value)}\n" for key, value in front.items()) + "---\n\n# x\n"
        )
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "plan")
    if packages:
        subprocess.run([KITTY, "-C", root, "finalize"], check=True, capture_output=True)
    return root


def landable(root: Path, *, lanes: int, commits: int, files: int) -> Path:
    """A repository whose lanes are all approved, each with its commits."""
    root.mkdir(parents=True)
    git(root, "init", "--quiet", "--initial-branch=work")
    for number in range(files):
        path = root / f"src/{number % 50}/{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{number}\n" * 20)
    shutil.move(root, root.with_name("moving"))
    made = repository(root, packages=lanes)
    shutil.move(root.with_name("moving") / "src", made / "src")
    shutil.rmtree(root.with_name("moving"))
    git(made, "add", "src")
    git(made, "commit", "--quiet", "-m", "files")
    _approve(made, lanes, commits)
    return made


def _approve(root: Path, lanes: int, commits: int) -> None:
    from kitty_host.lanes import require_lanes
    from kitty_host.ledger.emit import emit
    from kitty_host.ledger.event import transition
    from kitty_host.mission import find_missions
    from kitty_host.plugins import Plugins
    from kitty_host.repo import Repo

    (mission,) = find_missions(Repo.find(root))
    stream: list[str] = []
    for lane in require_lanes(mission).lanes:
        stream.append(f"reset refs/heads/{lane.branch}\nfrom refs/heads/work\n")
        for number in range(commits):
            folder = lane.write_scope[0].removesuffix("/**")
            stream.append(
                f"commit refs/heads/{lane.branch}\ncommitter bench <bench@kitty.invalid> {1700000000 + number} +0000\ndata 1\nx\n"
                + f"M 644 inline {folder}/{number}.txt\ndata 8\ncontent\n\n"
            )
    subprocess.run(["git", "fast-import", "--quiet"], cwd=root, input="".join(stream).encode(), check=True)
    for lane in require_lanes(mission).lanes:
        head = git(root, "rev-parse", lane.branch)
        verdict = {"reviewer": "grace", "verdict": "approved", "reference": head}
        evidence = {"review": verdict, "repos": [{"repo": "bench", "branch": lane.branch, "commit": head}]}
        for wp_id in lane.wp_ids:
            emit(
                Plugins([]),
                mission,
                lambda state, wp_id=wp_id, evidence=evidence: [  # type: ignore[misc]
                    transition(
                        wp_id,
                        state.lane(wp_id),
                        "approved",
                        actor="bench",
                        mission_id=mission.mission_id,
                        mission_slug=mission.slug,
                        force=True,
                        reason="bench",
                        evidence=evidence,
                    )
                ],
            )
