"""A 1-D coordinate: finite, in order, even or smoothly stretched."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from xvar.cf.axes import in_memory
from xvar.cf.geodesy import Floats, to_nodes
from xvar.errors import Faults

#: Deviation of a coordinate from equal steps, in steps, that is rounding and not a grid of its own.
TOLERANCE_DOUBLE, TOLERANCE_SINGLE = 1e-6, 1e-3

#: Ratio of neighbouring spacings beyond which a coordinate has a gap or a fault, and is no stretched grid.
SMOOTH_RATIO = 1.3


@dataclass(frozen=True)
class Line:
    """A 1-D coordinate, ascending, with its local spacing in its own unit."""

    values: Floats
    spacing: Floats
    uniform: bool
    ascending: bool

    @property
    def step(self) -> float:
        """The mean spacing."""
        return float(self.spacing.mean())


def coordinate_line(coordinate: xr.DataArray, factor: float, faults: Faults) -> Line | None:
    """A coordinate in metres (or degrees, with factor 1), ascending and checked."""
    values = np.asarray(in_memory(coordinate), dtype=np.float64)
    name = coordinate.name
    dim = coordinate.dims[0]
    if not np.isfinite(values).all():
        index = int(np.flatnonzero(~np.isfinite(values))[0])
        faults.add(
            code="coordinate-missing-value",
            variable=name,
            dimension=dim,
            index=index,
            found=f"value {values[index]} at index {index}",
            expected="finite coordinates",
            fix=f"ds = ds.isel({dim}=ds[{str(name)!r}].notnull().values), or write its values",
        )
        return None
    steps = np.diff(values)
    ascending = bool(np.median(steps) > 0) if steps.size else True
    wrong = np.flatnonzero(steps <= 0) if ascending else np.flatnonzero(steps >= 0)
    if wrong.size:
        index = int(wrong[0]) + 1
        faults.add(
            code="coordinate-not-monotonic",
            variable=name,
            dimension=dim,
            index=index,
            found=f"{values[index]:g} at index {index} after {values[index - 1]:g}: not monotonic",
            expected="a coordinate that only ascends or only descends",
            fix=f"ds.sortby({str(dim)!r}), or ds.drop_duplicates({str(dim)!r})",
        )
        return None
    if not ascending:
        values = values[::-1]
    count = values.size
    mean = (values[-1] - values[0]) / (count - 1)
    even = values[0] + mean * np.arange(count)
    deviation = np.abs(values - even).max() / mean
    # A float32 coordinate is exact to its own rounding only, which is what the looser tolerance is for.
    single = coordinate.dtype.kind == "f" and coordinate.dtype.itemsize <= 4
    tolerance = TOLERANCE_SINGLE if single else TOLERANCE_DOUBLE
    if deviation <= tolerance:
        return Line(even * factor, np.full(count, mean * factor), True, ascending)
    segments = np.diff(values)
    ratios = np.maximum(segments[1:] / segments[:-1], segments[:-1] / segments[1:])
    if ratios.size and ratios.max() > SMOOTH_RATIO:
        index = int(ratios.argmax()) + 1
        at = index if ascending else count - 1 - index
        faults.add(
            code="coordinate-uneven",
            variable=name,
            dimension=dim,
            index=at,
            found=f"uneven spacing: neighbouring steps differ by a factor {ratios.max():.4g} at index {at}, "
            f"max deviation {deviation:.4g} of a step from even spacing",
            expected=f"even spacing (to {tolerance:g} of a step), or steps that change by less than "
            f"{SMOOTH_RATIO - 1:.0%} from one to the next",
            fix="regrid, or fill in the missing rows with NaN (ds.reindex)",
        )
        return None
    return Line(values * factor, to_nodes(segments, 0) * factor, False, ascending)


def ascends(coordinate: xr.DataArray) -> bool | None:
    """Return True if ascending, False if descending, None if neither."""
    steps = np.diff(np.asarray(in_memory(coordinate), dtype=np.float64))
    if (steps > 0).all():
        return True
    return False if (steps < 0).all() else None
