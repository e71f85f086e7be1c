"""Pages of the documentation that are executed: the `sh` blocks of one, and a Bash that runs them with kitty on its path."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page: str, language: str = "sh") -> dict[str, str]:
    """The blocks of a page in a language, by the heading `##` above them; those below one heading are one."""
    found: dict[str, str] = {}
    heading = ""
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    for part in re.finditer(r"^## ([^\n]+)$|^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        heading = part[1] or heading
        if part[2] == language:
            found[heading] = found.get(heading, "") + part[3]
    return found


def bash(
    script: str, directory: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a script in a new directory, which is where it finds room for temporary files too."""
    directory.mkdir()
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        ["bash", "-c", script],
        cwd=directory,
        env={**os.environ, "PATH": path, "TMPDIR": str(directory), **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
