"""Codes and fields of the faults that a call reported."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from xvar.errors import Fault, InputError


class Message(str):
    """Text that a user reads, with the faults that it reports."""

    faults: tuple[Fault, ...] = ()

    @classmethod
    def of(cls, text: str, faults: Iterable[Fault]) -> Message:
        message = cls(text)
        message.faults = tuple(faults)
        return message


def codes(reported: InputError | Message | Iterable[Fault]) -> list[str]:
    """Return the codes of an error, or of a sequence of faults, in their order."""
    faults = reported.faults if isinstance(reported, (InputError, Message)) else reported
    return [fault.code for fault in faults]


def raised(
    call: Callable[[], object],
    *expected: str,
    error: type[InputError] = InputError,
    names: str | tuple[str, ...] = (),
    **fields: object,
) -> Message:
    """Assert that a call raises the faults that are expected.

    Parameters
    ----------
    call : callable
        The call.
    *expected : str
        Codes of all faults.
    error : type
        Exact type of the error.
    names : str or tuple of str
        Files, or places in them, that the first fault names.
    **fields
        `variable`, `dimension` or `index` of the first fault.

    Returns
    -------
    Message
    """
    with pytest.raises(error) as report:
        call()
    assert type(report.value) is error
    assert codes(report.value) == list(expected), str(report.value)
    found = report.value.faults[0]
    assert {name: getattr(found, name) for name in fields} == fields
    for name in (names,) if isinstance(names, str) else names:
        assert name in found.found
    return Message.of(str(report.value), report.value.faults)
