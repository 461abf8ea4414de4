"""The command line in this process."""

from __future__ import annotations

import warnings

from typer.testing import CliRunner

from xvar.cli import application


def shell(*arguments: object) -> tuple[int, str]:
    """Exit code and what stands on stderr of a command."""
    with warnings.catch_warnings():  # the shell silences libraries for its own process
        done = CliRunner().invoke(application, [str(word) for word in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert "Traceback" not in done.output
    return done.exit_code, done.stderr
