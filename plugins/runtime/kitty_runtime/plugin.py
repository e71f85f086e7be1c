"""The manifest of kitty-runtime: from intent to approved work."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from kitty_host.api import Command, Finding, hookimpl

if TYPE_CHECKING:
    from pathlib import Path

    from kitty_host.records import Decision, Page, State
    from kitty_host.repo import Repo


@hookimpl(trylast=True)
def kitty_commands() -> list[Command]:
    """The road, one command after the other."""
    return [
        Command("init", "kitty_runtime.init:init", "Make a repository ready for missions."),
        Command("mission", "kitty_runtime.missions:mission", "Create, list and show missions."),
        Command("specify", "kitty_runtime.artefacts:specify", "Scaffold, check and commit the specification."),
        Command("plan", "kitty_runtime.artefacts:plan", "Scaffold, check and commit the plan."),
        Command("artifact", "kitty_runtime.artefacts:artifact", "Scaffold, check and commit what another step makes."),
        Command("tasks", "kitty_runtime.artefacts:tasks", "Scaffold, check and commit the work packages."),
        Command(
            "finalize", "kitty_runtime.finalize:finalize", "Give work packages their lanes and open them for work."
        ),
        Command("next", "kitty_runtime.next:next_", "Say what to do next; with --result, go on."),
        Command(
            "implement", "kitty_runtime.implement:implement", "Claim a work package and get a place to work on it."
        ),
        Command("submit", "kitty_runtime.submit:submit", "Hand a work package to review."),
        Command("review", "kitty_runtime.review:review", "Claim, approve or reject a review."),
        Command("move", "kitty_runtime.move:move", "Make any other transition."),
        Command("cancel", "kitty_runtime.move:cancel", "Cancel a work package."),
        Command("reopen", "kitty_runtime.move:reopen", "Take an approved or finished work package up again."),
        Command("mark-status", "kitty_runtime.move:mark_status", "Say which subtasks are done."),
        Command("note", "kitty_runtime.move:note", "Note something about a work package."),
        Command("effort", "kitty_runtime.effort:effort", "Tell what a work package took: time, tokens, cost."),
        Command("status", "kitty_runtime.status:status", "Show how far missions have come."),
        Command("board", "kitty_runtime.board:board", "Show missions in a browser, live."),
        Command("mcp", "kitty_runtime.mcp:mcp", "Serve an agent over MCP, on standard input and output."),
        Command("demo", "kitty_runtime.demo:demo", "Watch a mission go from plan to landed commits."),
    ]


@hookimpl(trylast=True)
def kitty_mission_types() -> "list[Path]":
    """The types that ship with kitty."""
    from kitty_runtime.discovery import SHIPPED

    return sorted(SHIPPED.glob("*.yaml"))


@hookimpl(trylast=True)
def kitty_board_page(states: "tuple[State, ...]", links: tuple[tuple[str, str], ...]) -> "Page":
    """The one rendering, for `kitty board` and whoever else serves a board."""
    from kitty_runtime.page import page

    return page(states, links)


@hookimpl(trylast=True)
def kitty_next(state: "State") -> "Decision":
    """The next step by artefacts and ledger."""
    from kitty_runtime.decide import decide

    return decide(state)


@hookimpl(trylast=True)
def kitty_doctor(repo: "Repo") -> Iterable[Finding]:
    """Instructions of agents that an earlier kitty wrote."""
    from kitty_runtime.agents import look

    return look(repo.root)
