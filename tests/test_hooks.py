"""Every hook says when it is called, who wins and what a failure means, and its example works; the page about hooks says the same."""

from __future__ import annotations

import ast
import doctest
import inspect
import re
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pluggy
import pytest

from kitty_host import hooks
from kitty_host.api import Command, Finding, hookimpl

PAGE = Path(__file__).parent.parent / "docs" / "hooks.md"
HOOKS: dict[str, Callable[..., Any]] = {
    name: value for name, value in vars(hooks).items() if hasattr(value, "kitty_spec")
}
every_hook = pytest.mark.parametrize("name", HOOKS)


def signature(name: str) -> str:
    """`name(argument: type) -> type`, as the source has it."""
    found = inspect.signature(HOOKS[name])
    arguments = ", ".join(f"{one.name}: {one.annotation}" for one in found.parameters.values())
    return f"{name}({arguments}) -> {found.return_annotation}"


def told(name: str) -> dict[str, str]:
    """The docstring in parts: `what`, `When`, `Wins`, `Failure`, `example`."""
    text, _, example = inspect.cleandoc(HOOKS[name].__doc__ or "").partition(">>> ")
    what, *rest = re.split(r"^(When|Wins|Failure): ", text, flags=re.MULTILINE)
    parts = {key: " ".join(value.split()) for key, value in zip(rest[::2], rest[1::2], strict=True)}
    code = "\n".join(line.removeprefix("... ").removeprefix("...") for line in example.strip().splitlines())
    return {"what": " ".join(what.split()), **parts, "example": code}


def section(name: str) -> str:
    """What the page about hooks says of one of them."""
    parts = told(name)
    return (
        f"### `{name}`\n\n```python\n{signature(name)}\n```\n\n{parts['what']}\n\n- **When:** {parts['When']}\n"
        f"- **Wins:** {parts['Wins']}\n- **Failure:** {parts['Failure']}\n\n```python\n{parts['example']}\n```\n"
    )


def sections(page: str) -> dict[str, str]:
    """The page by its hooks."""
    _, *found = re.split(r"^### `(\w+)`\n", page, flags=re.MULTILINE)
    return {
        name: re.split(r"^## ", text, flags=re.MULTILINE)[0] for name, text in zip(found[::2], found[1::2], strict=True)
    }


def normal(section: str) -> tuple[str, str]:
    """Its words, and its example as the parser sees it: formatters may set it as they like."""
    text, _, code = section.rpartition("```python\n")
    return " ".join(text.split()), ast.dump(ast.parse(code.rstrip().removesuffix("```")))


def example(name: str) -> types.ModuleType:
    """A manifest that holds the function of the example."""
    manifest = types.ModuleType("example")
    names = {"hookimpl": hookimpl, "Command": Command, "Finding": Finding}
    test = doctest.DocTestParser().get_doctest(HOOKS[name].__doc__ or "", names, name, None, None)
    assert doctest.DocTestRunner().run(test, clear_globs=False).failed == 0
    setattr(manifest, name, test.globs[name])
    return manifest


def test_there_are_hooks() -> None:
    assert len(HOOKS) > 20
    assert all(name.startswith("kitty_") for name in HOOKS)


@every_hook
def test_a_hook_says_when_who_wins_and_what_a_failure_means(name: str) -> None:
    parts = told(name)
    assert set(parts) == {"what", "When", "Wins", "Failure", "example"}
    assert all(parts.values())
    assert parts["what"].endswith(".")


@every_hook
def test_one_record_or_value_per_argument_is_typed(name: str) -> None:
    found = inspect.signature(HOOKS[name])
    assert found.return_annotation
    assert all(isinstance(one.annotation, str) for one in found.parameters.values())
    assert all(one.default is one.empty for one in found.parameters.values())


@every_hook
def test_its_example_is_an_implementation(name: str) -> None:
    manager = pluggy.PluginManager("kitty")
    manager.add_hookspecs(hooks)
    manifest = example(name)
    manager.register(manifest)
    manager.check_pending()
    [implementation] = getattr(manager.hook, name).get_hookimpls()
    assert implementation.function is getattr(manifest, name)


@every_hook
def test_the_page_shows_it_as_the_source_has_it(name: str) -> None:
    shown = sections(PAGE.read_text(encoding="utf-8"))
    assert name in shown, f"docs/hooks.md lacks this:\n\n{section(name)}"
    assert normal(f"### `{name}`\n{shown[name]}") == normal(section(name)), f"it should say:\n\n{section(name)}"


def test_the_page_shows_no_hook_that_does_not_exist() -> None:
    assert list(sections(PAGE.read_text(encoding="utf-8"))) == list(HOOKS)


def test_an_example_that_does_not_fit_its_hook_would_be_seen() -> None:
    manager = pluggy.PluginManager("kitty")
    manager.add_hookspecs(hooks)
    manifest = types.ModuleType("wrong")

    @hookimpl
    def kitty_doctor(repository: Any) -> None: ...

    manifest.kitty_doctor = kitty_doctor  # type: ignore[attr-defined]
    with pytest.raises(pluggy.PluginValidationError):
        manager.register(manifest)
