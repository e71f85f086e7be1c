"""kitty's own rules for agents, one short section per action. What a project adds is read in `project`."""

from __future__ import annotations

from kitty_host.records import Section

_ALWAYS = """\
- The ledger alone says which lane a work package is in. Change it with kitty's commands; never edit, move or commit \
`status.events.jsonl` by hand.
- Exit code 0 means done, 1 refused: the code and the hint say what to do. Do that; do not force your way round it.
- Programs read `--json`: one object on standard output, errors included.
"""

_RULES = {
    "specify": """\
- `kitty specify` makes `spec.md`. Say what is needed and why; how it is built belongs in the plan.
- Give every requirement an id and a sentence that a test could prove wrong.
- Write down what you do not know as an open question. Do not invent the answer.
""",
    "plan": """\
- `kitty plan` makes `plan.md`. Read the specification first; every requirement id is answered, or named as left out.
- Name the files and interfaces that change, the decisions that were taken, and what was rejected and why.
- Change no code in this step.
""",
    "tasks": """\
- One work package is what one agent can finish and another can review.
- Front matter carries `work_package_id`, `title`, `dependencies`, `owned_files` and `execution_mode`. Own few paths, by name: \
packages that own the same path cannot run at the same time.
- State a dependency wherever one package needs the result of another. Then run `kitty finalize --check`, and `kitty finalize`.
""",
    "implement": """\
- `kitty implement WP` claims the package and prints `workspace_path`. Work there and nowhere else; the branch is the lane's.
- Change only what the package owns. If more is needed, say so with `kitty note WP TEXT` and stop.
- Commit with plain Git, hooks included. What is not committed is not submitted.
- `kitty lanes env` prints the lane's environment, its own test database among it. Run the tests in that.
- Mark subtasks with `kitty mark-status ID --status done`, then `kitty submit WP`; where nothing had to change, \
`kitty submit WP --no-changes REASON`.
- Merge no lane by hand, push nothing, and leave the target branch alone.
""",
    "review": """\
- Somebody else than the implementer reviews. `kitty review WP --claim` first.
- Read the lane's commits against the work package and the specification, and run the tests yourself. Change nothing there.
- `kitty review WP --approve`, or `kitty review WP --reject --reason REASON` with what is wrong and what would be right.
- The approval holds for exactly the commit that you looked at.
""",
    "accept": """\
- `kitty accept` runs every gate on the merged result of all lanes and records the answer for exactly that result.
- A red gate is mended in a lane and reviewed again, never silenced.
- A lane that gets another commit, or a target that moved, needs a new acceptance.
""",
    "merge": """\
- `kitty merge --preview` shows what conflicts, without touching a checkout. Mend it in the lanes.
- `kitty merge` lands everything in one move of the target. Never merge a lane's branch by hand.
- If it was killed, run it again. `kitty merge --undo` takes a landing back.
""",
}


def sections(action: str) -> list[Section]:
    """The rules for an action; for one that is not kitty's own, only those that always hold."""
    found = [Section("kitty-always", "Working with kitty", _ALWAYS.rstrip(), critical=True)]
    if action in _RULES:
        found.append(Section(f"kitty-{action}", f"How to {action} with kitty", _RULES[action].rstrip(), critical=True))
    return found
