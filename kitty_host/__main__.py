"""The two installed commands, `kitty` and `kittyctl`, and `python -m kitty_host`."""

import os
import sys

from kitty_host import __version__


def main() -> None:
    """Run one command and exit with its code."""
    # The most frequent question of scripts is answered before anything else is imported.
    if sys.argv[1:] == ["--version"] and sys.stdout is not None:
        try:
            sys.stdout.write(f"kitty {__version__}\n")
            sys.stdout.flush()
        except OSError:
            # Nobody reads it, or the disk is full: nothing more may be flushed at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.exit(1)
        return
    # A command makes much, keeps it, and is over: looking for garbage in between costs a fourteenth of `--help`.
    import gc

    gc.set_threshold(100_000)
    try:
        from kitty_host.cli import run
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
