"""The command ``clipn``."""

from __future__ import annotations

import signal
import sys


def main() -> int:
    """Runs the program with the words of the command line; returns its exit code."""
    from ._clipn import run_program

    # The program installs its own handlers.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return run_program([sys.executable, "-m", "clipn"], ["clipn", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
