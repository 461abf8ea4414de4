"""Codes and fields of the faults that a call reported."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from functools import wraps
from pkgutil import resolve_name
from typing import Any

import pytest
import xarray as xr

from tests.faults.fixes import alternatives, follow
from xvar import accessor
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
    """Assert that a call raises the faults that are expected, and that the lines of code of their fixes do fix them.

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
    calls = []

    def noted(name: str) -> Callable[..., Any]:
        function = resolve_name(name)

        @wraps(function)
        def recorded(data: object, *arguments: object, **options: object) -> object:
            calls.append((name, data, arguments, options))
            return function(data, *arguments, **options)

        return recorded

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accessor, "resolve_name", noted)
        with pytest.raises(error) as report:
            call()
    assert type(report.value) is error
    assert codes(report.value) == list(expected), str(report.value)
    found = report.value.faults[0]
    assert {name: getattr(found, name) for name in fields} == fields
    for name in (names,) if isinstance(names, str) else names:
        assert name in found.found
    if calls and isinstance(calls[-1][1], xr.Dataset):
        for fault in report.value.faults:
            assert_fixed(fault, *calls[-1])
    return Message.of(str(report.value), report.value.faults)


def assert_fixed(fault: Fault, function: str, data: xr.Dataset, arguments: tuple[Any, ...], options: dict) -> None:
    """Assert that each line of code of a fix runs, and that the same call then goes on without the fault."""
    for lines in alternatives(fault.fix):
        changed = follow(lines, data, options)
        if changed is None:
            continue
        fixed, stated = changed
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                resolve_name(function)(fixed, *arguments, **stated)
            except InputError as error:
                left = [(one.code, one.variable, one.dimension) for one in error.faults]
                assert (fault.code, fault.variable, fault.dimension) not in left, f"{lines} does not fix {fault}"
