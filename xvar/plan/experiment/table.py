"""Observations at points as they are stated: a table of value, variable, time, place and standard deviation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr

from xvar.cf.axes import find_axes
from xvar.core.comparison import Comparison
from xvar.errors import Faults


@dataclass(frozen=True, eq=False)
class Points(Comparison):
    r"""Observations at points, each at its own time and place.

    .. math::

        J_o = \sum_p \rho\left(\frac{T(\tilde H(x)) - T(y_p)}{\sigma_p}\right), \qquad
        \tilde H(x) = a\, H(x)(X_p, t_p) + b + \sum_i \beta_i\, p_i

    with the field H(x), a variable of the state or what an operator makes of it, interpolated to the place and, between
    the two steps around it, to the time.

    Parameters
    ----------
    dataset : Dataset, optional
        Its one dimension may have any name: ``time`` (dates), the coordinates of the grid (``x`` and ``y``, or ``lat``
        and ``lon``, by their names or their standard names; latitude and longitude also on grids on which these are
        2-D; on other grids one for each axis by its name, an index if the axis has no coordinate), ``value``, ``std``
        in the same units, and ``variable``, the name of the observed variable: one table may hold the temperature of a
        ship and the velocity of a drifter. Default: the data of the call.
    variable : str, optional
        The observed variable, if neither the Dataset nor an `operator` says it. Default: the only one of the state.
    sampler : {"bilinear", "cubic", "monotone"}
        How the field is found between grid points; ``"bilinear"`` is linear along each axis of any grid, the others are
        for grids (y, x).
    every : duration, optional
        In a call without images: time between the states of the result, which begin with the window and end with it.
        Default: these two alone.
    half_open : bool
        Leave out the points at the beginning of a window, which belong to the window before: for windows that follow
        one another in calls of their own. Cycled windows are half-open by themselves.
    operator : callable, optional
        H, as of `Images`: a function of the state that returns a field on the grid, (window, 1, \\*grid).
    error : float or specification of xvar.covariance, optional
        Standard deviation, if the Dataset has no ``std``. `Matern` or `GaspariCohn`: errors of one variable at the
        same time correlate by the distance of the points in a straight line, on latitude and longitude through the
        sphere; those of different times do not. Without one errors are uncorrelated.
    norm, threshold, transform, gain, offset, time_interpolation
        As of `Images`; one gain and offset a window.
    bias : mapping of str to Parameter or Bias, optional
        As of `Images`. A predictor is a DataArray (point,), the name of a variable of the table, or a function of the
        state that returns a field.
    quality : mapping of str, optional
        ``"background_check": k`` and ``"range": (low, high)``, as of `Images`.

    Raises
    ------
    InputError
        If a choice is unknown, or a calibration cannot be estimated.
    """

    dataset: xr.Dataset | None = None
    variable: str | None = None
    sampler: Literal["bilinear", "cubic", "monotone"] = "bilinear"
    every: Any = None
    half_open: bool = False

    def __post_init__(self) -> None:
        """Reject unknown choices, and errors that correlate."""
        super().__post_init__()
        faults = Faults()
        faults.check_choice("sampler", self.sampler, ("bilinear", "cubic", "monotone"), "bilinear")
        spread = getattr(self.error, "std", None) if self.correlation else self.error
        if self.error is not None and not isinstance(spread, (int, float, np.number)):
            faults.add(
                code="points-error",
                found=f"an error of type {type(self.error).__name__} of points",
                expected="a number, a variable std of the points, or Matern or GaspariCohn with a number std",
                fix="Points(points, error=0.02)",
            )
        if self.correlation and self.threshold is not None:
            faults.add(
                code="observation-error-norm",
                found="a covariance of points with a robust norm",
                expected="a quadratic norm: residuals are mixed",
                fix="leave norm= and threshold= out",
            )
        faults.raise_if_any()

    @property
    def correlation(self) -> Callable[[Any], Any] | None:
        """Correlation of errors at a distance in metres; None if they are uncorrelated."""
        found: Callable[[Any], Any] | None = getattr(self.error, "correlation", None)
        return found


def pixels(images: xr.DataArray, std: float | xr.DataArray) -> xr.Dataset:
    """Return every pixel of some images that has a value, as a table for `Points`.

    Parameters
    ----------
    images : DataArray (time, y, x)
        With 1-D coordinates, in any order.
    std : float or DataArray
        Standard deviation of the errors, in the units of the images.

    Returns
    -------
    Dataset
        ``value``, ``std`` and ``variable``, the name of the images, on a dimension ``point`` with ``time`` and the
        coordinates of the grid; ``xarray.concat([pixels(...), drifters], "point")`` puts tables together.

    Raises
    ------
    InputError
        If time, y and x are not found.
    """
    faults = Faults()
    axes = faults.require(find_axes(images, faults))
    plane = (axes.time, axes.y, axes.x)
    array = images.squeeze([dim for dim in images.dims if dim not in plane], drop=True).transpose(*plane)
    spread = xr.broadcast(xr.DataArray(std), array)[0].transpose(*array.dims).values
    seen = np.isfinite(array.values)
    rows = dict(zip(array.dims, np.nonzero(seen), strict=True))
    return xr.Dataset(
        {
            "value": ("point", array.values[seen]),
            "std": ("point", spread[seen]),
            "variable": ("point", np.full(int(seen.sum()), str(images.name))),
        },
        coords={dim: ("point", array[dim].values[index], dict(array[dim].attrs)) for dim, index in rows.items()},
    )
