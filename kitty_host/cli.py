"""The command line: one click group whose commands come from plugins and are imported when they are run."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from kitty_host import __version__, report
from kitty_host.api import KittyError
from kitty_host.command import Invocation
from kitty_host.plugins import Plugins, missing

HELP = """Land the work of many coding agents on one Git repository.

\b
New here?  kitty demo        watch a mission go from plan to landed commits
In a repository:  kitty init, then kitty next
"""


class Kitty(click.Group):
    """The root group. Help prints what the manifests say; a command is imported when it is run."""

    def __init__(self, plugins: Plugins) -> None:
        super().__init__(
            "kitty", help=HELP, no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]}
        )
        self.plugins = plugins
        self.claims, self.clashes = plugins.commands()
        self.params.append(
            click.Option(
                ["-C", "--repo-root", "directory"],
                metavar="PATH",
                multiple=True,
                help="Run as if started in PATH.",
                callback=_keep_directory,
                expose_value=False,
            )
        )
        self.params.append(
            click.Option(
                ["--version"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_print_version,
                help="Print the version.",
            )
        )

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every bare name."""
        return sorted(name for name in self.claims if ":" not in name)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command. Errors: `PLUGIN_COMMAND_CLASH`, `PLUGIN_MISSING`."""
        if cmd_name in self.clashes:
            claims = self.clashes[cmd_name]
            raise KittyError(
                "PLUGIN_COMMAND_CLASH",
                f"{' and '.join(claim.entry.distribution for claim in claims)} both bring a command {cmd_name}",
                f"use {' or '.join(f'{claim.entry.name}:{cmd_name}' for claim in claims)}",
            )
        claim = self.claims.get(cmd_name)
        return self.plugins.load(claim) if claim else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click, but an unknown name that is close to a known one says to which, and in an installation that lacks plugins, those."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            from difflib import get_close_matches

            close = get_close_matches(args[0], self.list_commands(ctx), cutoff=0.75)  # intake is no slip of init
            if close:
                said = f"No such command {args[0]!r}. Did you mean {' or '.join(map(repr, close))}?"
                raise click.UsageError(said, ctx) from None
            error = missing(f"no installed plugin brings a command {args[0]}", args[0])
            if error.details["distributions"]:
                raise error from None
            raise

    def get_help(self, ctx: click.Context) -> str:
        """As click, which would import `shutil` and with it every archive format there is, to learn how wide the terminal is."""
        ctx.terminal_width = ctx.terminal_width or _width()
        return super().get_help(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing any."""
        rows = [(name, self.claims[name].command.summary) for name in self.list_commands(ctx)]
        rows += [
            (name, "Claimed by " + " and ".join(claim.entry.distribution for claim in claims))
            for name, claims in sorted(self.clashes.items())
        ]
        with formatter.section("Commands"):
            formatter.write_dl(sorted(rows))
        if self.plugins.faults:
            formatter.write(f"\n{len(self.plugins.faults)} faults in plugins: kitty plugins doctor\n")


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code. Nothing is raised but what `KITTY_DEBUG=1` asks for."""
    report.spell_out()
    plugins = None
    try:
        plugins = Plugins.discover()
        code = execute(arguments, plugins)
        if sys.stdout is not None:
            sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        code = report.USAGE
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the one door
        code = report.leave(error, plugins, _wants_json(arguments))
    for note in plugins.notes if plugins else ():
        report.note(note)
    return code


def execute(arguments: Sequence[str], plugins: Plugins) -> int:
    """Run one command, raise what it raises, and return the exit code that it gave to `Context.exit`, else 0."""
    invocation = Invocation(plugins, json=_wants_json(arguments))
    try:
        code = Kitty(plugins).main(list(arguments), prog_name="kitty", standalone_mode=False, obj=invocation)
    except SystemExit as left:
        if isinstance(left.__context__, BrokenPipeError):
            # click calls it a failure that the reader has seen enough.
            raise left.__context__ from None
        raise
    return code if isinstance(code, int) else 0


def _wants_json(arguments: Sequence[str]) -> bool:
    plain = list(arguments)
    return "--json" in (plain[: plain.index("--")] if "--" in plain else plain)


def _width() -> int:
    """The columns that click would fill: two less than the terminal has, from 50 to 78."""
    try:
        columns = int(os.environ.get("COLUMNS", "")) or 80
    except ValueError:
        try:
            columns = os.get_terminal_size(1).columns or 80
        except OSError:
            columns = 80
    return max(min(columns, 80) - 2, 50)


def _keep_directory(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> None:
    if not value:
        return
    from pathlib import Path

    directory = Path(*value)  # as Git's: each is relative to the one before
    if not directory.is_dir():
        if context.resilient_parsing:  # somebody is typing
            return
        raise KittyError("WORKSPACE_ROOT_NOT_FOUND", f"{directory} is not a directory", "give an existing one to -C")
    context.obj.directory = directory


def _print_version(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        click.echo(f"kitty {__version__}")
        context.exit()
