"""The two installed commands, `kitty` and `kittyctl`, and `python -m kitty_host`."""

import sys

from kitty_host import __version__


def main() -> None:
    """Run one command and exit with its code."""
    # The most frequent question of scripts is answered before anything else is imported.
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"kitty {__version__}\n")
        return
    from kitty_host.cli import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
