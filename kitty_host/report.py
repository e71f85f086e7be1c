"""The one door through which errors leave, and how results are printed: nothing that leaves here steers a terminal.

`--json` prints exactly one object on standard output, errors included. Exit codes: 0 done, 1 refused or failed, 2 usage, 3 a
fault in kitty or a plugin, 130 interrupted.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any

import click

from kitty_host.api import KittyError
from kitty_host.discovery import HOST
from kitty_host.plugins import PluginFault, Plugins

REFUSED, USAGE, FAULT, INTERRUPTED = 1, 2, 3, 130
ERROR_SCHEMA = "kitty.error/1"


def spell_out() -> None:
    """Let standard output and error show what their encoding lacks by its number: no command fails by a title with an umlaut."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() not in ("utf-8", "utf8"):
            stream.reconfigure(errors="backslashreplace")


def show(payload: dict[str, Any], text: str, as_json: bool) -> None:
    """Print a result: one JSON object, or the text for people."""
    if as_json:
        import json

        click.echo(json.dumps(payload))
    elif text:
        click.echo(_visible(text))


def counted(number: int, noun: str) -> str:
    """`1 commit`, `2 commits`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def note(text: str) -> None:
    """A line of progress or a warning, on standard error."""
    click.echo(_visible(text), err=True)


def warn(code: str, message: str, hint: str = "") -> None:
    """What stops nothing and should be known, on standard error."""
    note(f"warning: {code}: {message}" + f"\n  {hint}" * bool(hint))


def shown(error: KittyError) -> dict[str, Any]:
    """An error among other things that are shown."""
    return {"code": error.code, "message": error.message, "hint": error.hint, "details": error.details}


def leave(error: BaseException, plugins: Plugins | None, as_json: bool) -> int:
    """Print an error and return the exit code it stands for. `KITTY_DEBUG=1` re-raises what nobody expected."""
    if isinstance(error, KittyError):
        _print(error.code, error.message, error.hint, error.details, as_json)
        return REFUSED
    if isinstance(error, click.UsageError):
        where = error.ctx.command_path if error.ctx is not None else "kitty"
        _print("USAGE", error.format_message(), f"see: {where} --help", {}, as_json)
        return USAGE
    if isinstance(error, click.ClickException):
        _print("FAILED", error.format_message(), "", {}, as_json)
        return REFUSED
    if isinstance(error, (click.Abort, KeyboardInterrupt)):
        _print("INTERRUPTED", "interrupted", "run it again; nothing is half done", {}, as_json)
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        # The reader has seen enough. Nothing more may be flushed into the closed pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        _print(
            "DISK_FULL",
            "the output could not be written: no space left",
            "free some space and run it again",
            {},
            as_json,
        )
        return REFUSED
    if os.environ.get("KITTY_DEBUG") == "1":
        raise error
    culprit = error.plugin if isinstance(error, PluginFault) else (plugins and plugins.culprit(error))
    log = _write_log(error)
    where = f"plugin {culprit}" if culprit else HOST
    _print(
        "FAULT",
        str(error) if isinstance(error, PluginFault) else f"a fault in {where}: {error!r}",
        f"please report it with {log}",
        {"plugin": culprit or HOST, "log": log},
        as_json,
    )
    return FAULT


def _visible(text: str, *, lines: bool = True) -> str:
    from kitty_host.inert import visible  # help prints nothing of ours

    return visible(text, lines=lines)


def _print(code: str, message: str, hint: str, details: dict[str, Any], as_json: bool) -> None:
    message, hint = _visible(message, lines=False), _visible(hint, lines=False)
    if as_json:
        import json

        click.echo(
            json.dumps(
                {"schema": ERROR_SCHEMA, "code": code, "message": message, "hint": hint, "details": details},
                default=str,
            )
        )
        return
    click.echo(f"{code}: {message}", err=True)
    if hint:
        click.echo(f"  {hint}", err=True)


def _write_log(error: BaseException) -> str:
    import time
    import traceback
    from pathlib import Path

    from platformdirs import user_log_path

    try:
        directory = Path(user_log_path("kitty"))
        directory.mkdir(parents=True, exist_ok=True)
        log = directory / f"{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.log"
        log.write_text("".join(traceback.format_exception(error)), encoding="utf-8", newline="\n")
    except OSError:
        return "the output of the same command with KITTY_DEBUG=1"
    return str(log)
