"""Codes of the faults that a call reported."""

from __future__ import annotations

from collections.abc import Iterable

from xvar.errors import Fault, InputError


def codes(reported: InputError | Iterable[Fault]) -> list[str]:
    """Return the codes of an error, or of a sequence of faults, in their order."""
    faults = reported.faults if isinstance(reported, InputError) else reported
    return [fault.code for fault in faults]
