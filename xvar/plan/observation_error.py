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


#: Largest relative error of R^-1 R x.
INVERSE = 1e-4
#: Values of an image up to which the diagonal of a covariance that states no deviation is computed.
MOST_VALUES = 2500


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
    values = along(given, like, "observation_error", call.faults)
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
    count, channels = getattr(given, "components", layout.number_of_channels), layout.number_of_channels
    in_space = getattr(given, "space", None) is not None or not hasattr(given, "matrix")
    grid = layout.grid or (call.bridge.core_grid() if layout.on_grid or not in_space else None)
    reasons = {
        "observation-error-norm": (
            comparison.threshold is not None,
            "a covariance with a robust norm",
            "a quadratic norm: residuals are mixed",
            "leave norm= and threshold= out",
        ),
        "observation-error-channels": (
            count != channels,
            f"a matrix of {count} channels for images of {channels}",
            "one row and one column a channel",
            "xvar.covariance.Channels(matrix)",
        ),
        "observation-error-without-grid": (
            grid is None,
            "a covariance in space of images without a plane of x and y",
            "coordinates y and x of the images in a unit of length, or latitude and longitude",
            "xvar.covariance.Channels(matrix), or a standard deviation",
        ),
    }
    for code, (wrong, found, expected, fix) in reasons.items():
        if wrong:
            faults.add(code=code, variable="observation_error", found=found, expected=expected, fix=fix)
    if layout.on_grid and len(faults) == before:
        check_covariances(call, {"error": {"observation": given}}, {"observation": ("",) * channels})
    if len(faults) > before or grid is None:
        return Error()
    std = _deviation(given, grid, layout.core_shape)
    if std is None:
        faults.add(
            code="observation-error-singular",
            variable="observation_error",
            found=f"a covariance {type(given).__name__} of {layout.core_shape} values that has no inverse",
            expected="errors in every direction: no truncated spectrum, no standard deviation of zero",
            fix="xvar.covariance.Matern(std=..., length=...)",
        )
        return Error()
    std = ascending(std, call.record.grid) if layout.on_grid else std
    return Error(np.array(std.reshape(1, *like.shape[1:])), given)


def _deviation(given: Any, grid: Grid, shape: tuple[int, ...]) -> Array | None:
    """Return the standard deviation (channel, *shape) of a covariance; None if it has no inverse.

    It is the stated one, or the root of the mean variance if none is stated and there are more than `MOST_VALUES`.
    """
    import torch

    bound = given.bind(grid, dtype=torch.float64)
    probe = torch.randn((1, *shape), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        back = bound.solve(bound.apply(probe))
        if not float((back - probe).norm()) < INVERSE * float(probe.norm()):
            return None
        if getattr(given, "std", None) is not None:
            return np.asarray(np.broadcast_to(np.asarray(given.std, dtype="float64"), (1, *shape))[0])
        size = probe.numel()
        if size > MOST_VALUES:
            return np.broadcast_to(np.sqrt(float((probe * bound.apply(probe)).mean())), shape)
        units = torch.eye(size, dtype=torch.float64).reshape(size, *shape)
        return np.asarray(bound.apply(units).reshape(size, size).diagonal().sqrt().reshape(shape))
