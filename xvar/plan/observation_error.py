"""Errors of observation as they are stated: a number, a field, or a covariance of values, with their faults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.errors import Faults
from xvar.plan.bridge import Array, ascending
from xvar.plan.call import Call
from xvar.plan.control import check_covariances
from xvar.plan.experiment.layout import Layout, along

if TYPE_CHECKING:
    from xvar.core.comparison import Comparison
    from xvar.core.covariance import Covariance, Specification
    from xvar.core.grid import Grid


@dataclass(frozen=True)
class Error:
    """Error of images: σ broadcastable to all of them (time, *shape), None if none is stated; R if they correlate."""

    std: Array | None = None
    specification: Specification | None = None

    def ordered(self, orders: Sequence[NDArray[np.intp]]) -> Error:
        """Return the error of images in another order along each axis."""
        return replace(self, std=ordered(self.std, orders))

    def bind(self, grid: Grid, device: str | None) -> Covariance | None:
        """Return R on a grid, in double precision."""
        import torch

        if self.specification is None:
            return None
        return self.specification.bind(grid, dtype=torch.float64, device=device)


def ordered(part: Any, orders: Sequence[NDArray[np.intp]]) -> Any:
    """Return an array in another order along each axis; axes of length one stay, and so does what is no array."""
    for axis, order in enumerate(orders) if isinstance(part, np.ndarray) else ():
        part = part if part.shape[axis] == 1 else part.take(order, axis)
    return part


def read_number(given: Any, faults: Faults) -> float | None:
    """Return the standard deviation of a method that takes a number; None is the default."""
    if given is None:
        return None
    is_number = isinstance(given, (int, float, np.number)) and not isinstance(given, bool)
    if not is_number or not np.isfinite(given) or given <= 0:
        faults.add(
            code="observation-error-value",
            variable="observation_error",
            found=f"observation_error={given!r}" if is_number else f"observation_error of type {type(given).__name__}",
            expected="a positive number in units of the variable; one for each observation is for a model",
            fix='observation_error=0.5; or dynamics="advection"',
        )
        return None
    return float(given)


def read_error(given: Any, like: xr.DataArray, comparison: Comparison, layout: Layout, units: str, call: Call) -> Error:
    """Return the error of images (time, *shape) with their units; none if a fault was added."""
    if given is None:
        return Error()
    if hasattr(given, "bind"):
        return _read_covariance(given, like, comparison, layout, call)
    values = along(given, like, "observation_error", "observation-error", call.faults)
    if values is None:
        return Error()
    if isinstance(given, xr.DataArray) and units:
        values = call.in_units(values, given, units, "observation_error", difference=True)
    wrong = ~(values > 0)
    if wrong.any():
        index = tuple(int(axis[0]) for axis in np.nonzero(wrong))
        call.faults.add(
            code="observation-error-not-positive",
            variable="observation_error",
            index=index,
            found=f"{int(wrong.sum())} standard deviations that are not positive, the first {values[index]:g}",
            expected="positive numbers in the units of the variable",
            fix="observation_error=0.1; NaN in the data takes an observation out",
        )
    return Error(values)


def _read_covariance(given: Any, like: xr.DataArray, comparison: Comparison, layout: Layout, call: Call) -> Error:
    """Return the error of images whose values correlate."""
    faults, before = call.faults, len(call.faults)
    space = getattr(given, "space", None) if hasattr(given, "matrix") else given
    std, count = getattr(given, "std", None), getattr(given, "components", layout.number_of_channels)
    reasons = {
        "observation-error-norm": (
            comparison.threshold is not None,
            "a covariance with a robust norm",
            "a quadratic norm: residuals are mixed",
            "leave norm= and threshold= out",
        ),
        "observation-error-truncated": (
            getattr(space, "truncation", 1.0) != 1.0,
            "a covariance with a truncated spectrum, which has no inverse",
            "one that has",
            "leave truncation= out",
        ),
        "observation-error-without-std": (
            std is None,
            f"a covariance {type(given).__name__} without a standard deviation",
            "one that states it",
            "xvar.covariance.Matern(std=..., length=...)",
        ),
        "observation-error-channels": (
            count != layout.number_of_channels,
            f"a matrix of {count} channels for images of {layout.number_of_channels}",
            "one row and one column a channel",
            "xvar.covariance.Channels(matrix)",
        ),
        "observation-error-without-grid": (
            space is not None and not layout.on_grid and layout.grid is None,
            "a covariance in space of images without a plane of x and y",
            "coordinates y and x of the images in a unit of length, or latitude and longitude",
            "xvar.covariance.Channels(matrix), or a standard deviation",
        ),
    }
    for code, (wrong, found, expected, fix) in reasons.items():
        if wrong:
            faults.add(code=code, variable="observation_error", found=found, expected=expected, fix=fix)
    if len(faults) > before:
        return Error()
    if layout.on_grid:
        parts = {"error": {"observation": given}}
        check_covariances(call, parts, {"observation": ("",) * layout.number_of_channels})
    shape = (1, *layout.core_shape)
    values = np.broadcast_to(np.asarray(std, dtype="float64"), shape)
    values = ascending(values, call.record.grid) if layout.on_grid else values
    return Error(np.array(values.reshape(1, *like.shape[1:])), given)
