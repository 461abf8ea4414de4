"""Codes and places of the faults that a function reported."""

from __future__ import annotations

from xvar.errors import Faults


def places(faults: Faults) -> list[tuple[object, ...]]:
    """Return code, variable, dimension and index of each fault, without fields that are None at the end."""
    found = [[fault.code, fault.variable, fault.dimension, fault.index] for fault in faults]
    for place in found:
        while place[-1] is None:
            place.pop()
    return [tuple(place) for place in found]
