"""The shell; ``xvar --help`` lists its commands, and `docs/shell.md` says what they share.

Exit codes: 0 success, 1 a failed check or a fault of xvar, 2 a call, input or file that cannot be used, 3 failed
windows, 130 interrupted.
"""

from __future__ import annotations

from xvar.cli.application import application


def main() -> None:
    """Run the command line."""
    application(prog_name="xvar")


__all__ = ["application", "main"]
