"""Values that no analysis can be made of, found at the call where the data are in memory."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.axes import in_memory, is_lazy
from xvar.cf.units import Kind
from xvar.errors import Problems

#: What files write for missing and do not declare.
_UNDECLARED = (-9999.0, -999.0, -99.0, -32768.0, 9999.0, 32767.0, 65535.0, 9.96921e36, 1e20, 1e30)


class InputWarning(UserWarning):
    """The input was taken otherwise than it stands; the message says how, and what would mend it."""


def check_values(array: xr.DataArray, kind: Kind, problems: Problems, *, strict: bool = False) -> list[str]:
    """Look at the values of a record in memory.

    Parameters
    ----------
    array : DataArray (time, y, x)
        The record. Lazy values are not looked at: what is wrong with them shows when they are computed.
    kind : str
        What it measures.
    problems : Problems
        Takes a record without any value, undeclared fill values, negative rain, and infinities where `strict`.
    strict : bool
        Refuse infinite values instead of taking them as missing.

    Returns
    -------
    list of str
        What was found and handled, for the attributes of the output.
    """
    if is_lazy(array):
        return []
    values = in_memory(array)
    notes = []
    if values.dtype.kind == "f":
        infinite = np.isinf(values)
        count = int(infinite.sum())
        if count:
            index = tuple(int(axis[0]) for axis in np.nonzero(infinite))
            text = f"{count} infinite values, the first at index {index}"
            if strict:
                problems.add(
                    variable=array.name,
                    index=index,
                    found=text,
                    expected="finite values, or NaN where nothing was observed",
                    fix="strict=False takes them as missing",
                )
            else:
                warnings.warn(
                    f"variable {array.name!r}: {text}: taken as missing; replace them by NaN to say so",
                    InputWarning,
                    stacklevel=2,
                )
                notes.append(f"{count} infinite values taken as missing")
        valid = np.isfinite(values)
        if not valid.any():
            problems.add(
                variable=array.name,
                found=f"no finite value in {len(values)} frames",
                expected="at least one observed value",
                fix="check the fill values of the file and the selection",
            )
            return notes
        empty = int((~valid.any(axis=(1, 2))).sum())
        if empty:
            notes.append(f"{empty} of {len(values)} frames without any value")
    valid = np.isfinite(values)
    # Integers take no infinity to begin with.
    low, high = float(np.min(values[valid])), float(np.max(values[valid]))
    name = f"ds[{str(array.name)!r}]"
    for fill in _UNDECLARED:
        count = int((values == np.asarray(fill, values.dtype)).sum()) if fill in (low, high) else 0
        if count > 1 and _stands_apart(values, fill):
            problems.add(
                variable=array.name,
                found=f"{count} values of {fill:g}: an undeclared _FillValue {fill:g}?",
                expected="NaN where nothing was observed",
                fix=f"{name} = {name}.where({name} != {fill:g})",
            )
            return notes
    if kind == "rain" and low < 0:
        index = tuple(int(axis[0]) for axis in np.nonzero(values < 0))
        problems.add(
            variable=array.name,
            index=index,
            found=f"{int((values < 0).sum())} negative values, the least {low:g}",
            expected="rain of zero or more",
            fix=f"{name}.clip(min=0), or {name}.where({name} >= 0) where they stand for missing",
        )
    return notes


def _stands_apart(values: NDArray[Any], fill: float) -> bool:
    """Whether the other values stay far from a suspected fill value."""
    others = values[np.isfinite(values) & (values != np.asarray(fill, values.dtype))]
    if others.size == 0:
        return True
    spread = float(others.max() - others.min())
    distance = float(np.min(np.abs(others.astype(float) - fill)))
    return distance > max(spread, 1.0)
