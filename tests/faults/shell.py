"""The command line in this process."""

from __future__ import annotations

import sys
import warnings

import pytest
from typer.testing import CliRunner

from tests.faults.codes import Message
from xvar.cli.application import application
from xvar.errors import Fault, InputError


def shell(*arguments: object) -> tuple[int, Message]:
    """Run a command; return its exit code, and its standard error with the faults that it reports."""
    faults: list[Fault] = []
    module = sys.modules["xvar.cli.application"]
    complain = module.complain

    def noted(text: object) -> None:
        error = sys.exc_info()[1]
        faults.extend(error.faults if isinstance(error, InputError) else ())
        complain(text)

    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:  # it silences libraries for its own process
        patch.setattr(module, "complain", noted)
        done = CliRunner().invoke(application, [str(word) for word in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert "Traceback" not in done.output
    return done.exit_code, Message.of(done.stderr, faults)


def refused_by_shell(*arguments: object, code: str, names: tuple[str, ...] = ()) -> Message:
    """Assert that a command ends with exit code 2 and one fault of this code; return its message."""
    ended, message = shell(*arguments)
    assert ended == 2
    assert [fault.code for fault in message.faults] == [code], message
    for name in names:
        assert name in message
    return Message.of(message.removeprefix("xvar: "), message.faults)
