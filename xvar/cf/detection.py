"""Codes of radars for nothing detected and for not observed: undetect and nodata of ODIM."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xvar.cf.axes import attribute
from xvar.cf.kinds import Kind

#: dBZ that represents "nothing detected" if the value in the file is outside the physical limits.
NOTHING = -32.0

_NODATA = ("nodata", "_Nodata", "what_nodata")
_UNDETECT = ("undetect", "_Undetect", "what_undetect")


def detected(array: xr.DataArray, kind: Kind, limits: tuple[float, float], notes: list[str]) -> xr.DataArray:
    """Return values with nodata missing, and undetect a value: no rain, or the least reflectivity.

    `limits` are the physical limits in the units of the variable; `notes` receives the changes. Lazy values stay lazy.
    """
    if kind not in ("rain", "reflectivity"):
        return array
    result = array
    nodata, undetect = (_value(array, names) for names in (_NODATA, _UNDETECT))
    if nodata is not None:
        result = result.where(~_is(array, nodata))
        notes.append(f"nodata of {nodata:g} taken as missing")
    if undetect is not None:
        seen = undetect if limits[0] <= undetect <= limits[1] else NOTHING
        least = 0.0 if kind == "rain" else seen
        if least != undetect:
            result = result.where(~_is(array, undetect), np.asarray(least, dtype=result.dtype)[()])
        notes.append(f"undetect of {undetect:g} is {least:g}: looked at, and nothing seen")
    return result.assign_attrs(array.attrs) if result is not array else array


def undeclared_nodata(array: xr.DataArray, kind: Kind) -> float | None:
    """Return the value of the highest code of a packed radar image if the file declares no missing value.

    In the units of the variable; None if the file is not packed into unsigned integers, or declares a missing value.
    """
    encoding = array.encoding
    code = np.dtype(encoding["dtype"]) if encoding.get("dtype") is not None else None
    if kind not in ("rain", "reflectivity") or code is None or code.kind != "u" or "scale_factor" not in encoding:
        return None
    declared = ("_FillValue", "missing_value", "valid_range", "valid_max", *_NODATA, *_UNDETECT)
    if any(attribute(array, name) is not None for name in declared):
        return None
    return _physical(float(np.iinfo(code).max), array)


def _value(array: xr.DataArray, names: tuple[str, ...]) -> float | None:
    """Return the decoded value of a code that the file declares under one of some names."""
    for name in names:
        code: Any = attribute(array, name)
        if isinstance(code, (int, float, np.number)) and np.isfinite(code):
            return _physical(float(code), array)
    return None


def _physical(code: float, array: xr.DataArray) -> float:
    scale, offset = (array.encoding.get(name, neutral) for name, neutral in (("scale_factor", 1), ("add_offset", 0)))
    return code * float(scale) + float(offset)


def _is(array: xr.DataArray, value: float) -> xr.DataArray:
    """Return a mask, True at values equal to `value`, to the rounding of single precision."""
    return abs(array - value) <= 1e-6 * max(abs(value), 1.0)
