"""The shell; ``xvar --help`` lists its commands, and `docs/shell.md` says what they share.

Exit codes: 0 where all went well, 1 where a check failed or xvar has a fault, 2 where a call, an input or a file cannot
be used as it is, 3 where windows failed, 130 where it was interrupted.
"""

from __future__ import annotations

from xvar.cli.application import application


def main() -> None:
    """Run the command line."""
    application(prog_name="xvar")


__all__ = ["application", "main"]
