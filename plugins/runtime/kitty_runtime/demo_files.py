"""What the demo's people write: a small program, a plan, a mission, and the work of five packages."""

from __future__ import annotations

PROGRAM = {
    "README.md": "# greeter\n\nGreets people.\n",
    "greeter/__init__.py": '"""Greets people."""\n',
    ".gitignore": ".worktrees/\n.kittify/mission-brief.md\n.kittify/brief-source.yaml\n.kittify/sync/\n__pycache__/\n",
}

PLAN = """# A greeter for the command line

People type a name and are greeted. Nobody is greeted without a name.

- a function that makes the greeting
- a command that prints it
- tests for both
- a line in the manual
"""

SPEC = {
    "spec.md": """# Greeter: specification

## Goal

`python -m greeter Ada` prints a greeting for Ada.

## Requirements

- R1: a name is greeted.
- R2: an empty name is refused.

## Done when

The tests pass and the manual says how to call it.
"""
}

PLAN_OF_MISSION = {
    "plan.md": """# Greeter: plan

## Approach

One module with a pure function, one with the command line; a note on what a name may be comes first, beside them.

## Work packages

WP01 function, WP02 command line, WP03 tests, in that order; WP04 manual and WP05 note at any time.
"""
}

WORK = {
    "WP01": {"greeter/core.py": 'def greeting(name: str) -> str:\n    return f"Hello, {name}!"\n'},
    "WP02": {
        "greeter/__main__.py": "import sys\n\nfrom greeter.core import greeting\n\nprint(greeting(sys.argv[1]))\n",
    },
    "WP03": {
        "tests/test_greeter.py": "from greeter.core import greeting\n\n\n"
        'def test_a_name_is_greeted():\n    assert greeting("Ada") == "Hello, Ada!"\n',
    },
    "WP04": {"docs/manual.md": "# Manual\n\n    python -m greeter NAME\n"},
    "WP05": {"names.md": "# What a name may be\n\nAnything but nothing.\n"},
}

CORRECTION = {
    "greeter/__main__.py": "import sys\n\nfrom greeter.core import greeting\n\n"
    'name = " ".join(sys.argv[1:]).strip()\nif not name:\n    sys.exit("usage: python -m greeter NAME")\nprint(greeting(name))\n',
}


def tasks(mission: str) -> dict[str, str]:
    """The list of work packages and a file for each."""
    packages: tuple[tuple[str, str, list[str], list[str], str], ...] = (
        ("WP01", "The greeting", [], ["greeter/core.py"], "code_change"),
        ("WP02", "The command line", ["WP01"], ["greeter/__main__.py"], "code_change"),
        ("WP03", "Tests", ["WP02"], ["tests/**"], "code_change"),
        ("WP04", "The manual", [], ["docs/**"], "code_change"),
        ("WP05", "What a name may be", [], [f"kitty-specs/{mission}/names.md"], "planning_artifact"),
    )
    rows = "\n".join(f"- {wp_id}: {title}" for wp_id, title, *_ in packages)
    written = {"tasks.md": f"# Greeter: tasks\n\n## Work packages\n\n{rows}\n"}
    for wp_id, title, needs, owned, mode in packages:
        front = f"work_package_id: {wp_id}\ntitle: {title}\ndependencies: [{', '.join(needs)}]\nowned_files:\n"
        front += "".join(f"- {path}\n" for path in owned) + f"execution_mode: {mode}\nsubtasks: []\n"
        written[f"tasks/{wp_id}-{title.lower().replace(' ', '-')}.md"] = (
            f"---\n{front}---\n\n# {title}\n\nSee plan.md.\n"
        )
    return written
