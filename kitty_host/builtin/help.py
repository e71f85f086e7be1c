"""`kitty help`: a command, a page of the documentation, or an error code, by its name; and `kitty completion`.

The pages are those of `docs/`; a wheel has a copy of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

import click

from kitty_host import completion as completions
from kitty_host.api import KittyError
from kitty_host.command import Invocation, command
from kitty_host.completion import SHELLS

_PLACES = (Path(__file__).parents[1] / "docs", Path(__file__).parents[2] / "docs")
"""In a wheel, and in a checkout."""


@command("help")
@click.argument("topic", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every command there is, as one page in Markdown.")
def help_(call: Invocation, topic: tuple[str, ...], everything: bool) -> None:
    """Explain a command, a page of the documentation, or an error code.

    Without one, all there is to ask for is listed.
    """
    root = click.get_current_context().find_root()
    topic = tuple(" ".join(topic).split())  # "mission create" is two words as well
    if everything and topic:
        raise click.UsageError("--all is about every command: give a topic, or --all")
    text: str | None
    if everything:
        text = _reference(root)
    elif topic:
        text = _command_and_page(root, topic) or _page(topic) or _code(topic)
        if text is None:
            raise _unknown(root, topic)
    else:
        text = f"{root.get_help()}\n\nPages:\n" + "\n".join(f"  {name:16} {title}" for name, title in pages().items())
        text += "\n\nkitty help COMMAND, kitty help PAGE, kitty help CODE"
    payload = {"schema": "kitty.help/1", "topic": " ".join(topic), "text": text}
    if call.json or not topic:
        call.show(payload, text)
    else:
        click.echo_via_pager(text.rstrip("\n") + "\n")


@command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
def completion(call: Invocation, shell: str) -> None:
    """Print what makes a shell complete commands, missions and work packages.

    \b
    bash:  eval "$(kitty completion bash)"        in ~/.bashrc
    zsh:   eval "$(kitty completion zsh)"         in ~/.zshrc
    fish:  kitty completion fish | source         in ~/.config/fish/config.fish
    """
    text = completions.script(click.get_current_context().find_root().command, shell)
    call.show({"schema": "kitty.completion/1", "shell": shell, "script": text}, text)


def pages() -> dict[str, str]:
    """The pages of the documentation, by name, with their titles."""
    return {name: path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ") for name, path in _files().items()}


def _files() -> dict[str, Path]:
    place = next((one for one in _PLACES if one.is_dir()), None)
    return {path.stem: path for path in sorted(place.glob("*.md")) if path.stem != "README"} if place else {}


def _reference(root: click.Context) -> str:
    """What every command says of itself, on one page; as wide as a terminal of eighty columns, wherever it is made."""
    parts = [_REFERENCE]
    for words in _commands(root.command, root):
        parts.append(f"## kitty {' '.join(words)}\n\n```text\n{_of_command(root, words, width=78)}\n```\n")
    return "\n".join(parts)


_REFERENCE = """# Commands

What every command says of itself: `kitty help --all` prints this page, `kitty help COMMAND` a part of it.

Exit codes: 0 done, 1 refused, 2 a mistake in the call, 3 a fault in kitty or a plugin, 130 interrupted. With `--json` a command prints
one JSON object whose `schema` says what it is; so does a refusal: `kitty.error/1`, with `code`, `message`, `hint` and `details`. What
a code means: [Errors](errors.md).
"""


def _commands(command: click.Command, context: click.Context, *before: str) -> Iterator[tuple[str, ...]]:
    """The words of every command, in order, groups before what is in them."""
    if before:
        yield before
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None and not child.hidden:
                yield from _commands(child, click.Context(child, info_name=name, parent=context), *before, name)


def _of_command(root: click.Context, words: tuple[str, ...], width: int | None = None) -> str | None:
    context = root
    for word in words:
        child = context.command.get_command(context, word) if isinstance(context.command, click.Group) else None
        if child is None:
            return None
        context = click.Context(child, info_name=word, parent=context, terminal_width=width)
    return context.get_help()


def _command_and_page(root: click.Context, words: tuple[str, ...]) -> str | None:
    """What a command says of itself; of a page with the same name, how to see that."""
    text = _of_command(root, words)
    name = "-".join(words)
    return f"{text}\n\nThere is a page about it: kitty help {name}.md" if text and name in _files() else text


def _page(words: tuple[str, ...]) -> str | None:
    path = _files().get("-".join(words).lower().removesuffix(".md"))
    return path.read_text(encoding="utf-8") if path else None


def _code(words: tuple[str, ...]) -> str | None:
    """The row of a code: what is wrong, and how to mend it."""
    found = _codes().get(words[0].upper()) if len(words) == 1 else None
    return f"{words[0].upper()}\n  what is wrong:  {found[0]}\n  how to mend it: {found[1]}" if found else None


def _codes() -> dict[str, tuple[str, str]]:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (.*?) \| (.*?) \|$", _page(("errors",)) or "", re.MULTILINE)
    return {code: (wrong, mend) for code, wrong, mend in rows}


def _unknown(root: click.Context, words: tuple[str, ...]) -> KittyError:
    command_names = root.command.list_commands(root) if isinstance(root.command, click.Group) else []
    said = " ".join(words)
    close = get_close_matches(said, sorted({*command_names, *_files()}))
    close = close or get_close_matches(said.upper(), list(_codes()))
    hint = f"did you mean {' or '.join(close[:3])}?" if close else "run: kitty help"
    return KittyError("TOPIC_UNKNOWN", f"there is no command, page or code {said}", hint)
