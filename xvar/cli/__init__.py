"""The shell: ``xvar assimilate``, ``forecast``, ``verify``, ``info``, ``check`` and ``demo``.

Exit codes: 0 where all went well, 2 where a call, an input or a file cannot be used as it is, 130 where it was
interrupted, 1 for anything else, which is a fault of xvar.
"""

from __future__ import annotations

from xvar.cli.application import application


def main() -> None:
    """Run the command line."""
    application(prog_name="xvar")


__all__ = ["application", "main"]
