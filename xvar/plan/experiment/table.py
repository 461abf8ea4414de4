"""Observations at points as a table: value, variable, time, place and standard deviation of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.axes import find_axes
from xvar.core.comparison import Comparison
from xvar.errors import Faults

Array = NDArray[Any]


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
        2-D), ``value``, ``std`` in the same units, and ``variable``, the name of the observed variable: one table may
        hold the temperature of a ship and the velocity of a drifter. Default: the data of the call.
    variable : str, optional
        The observed variable, if neither the Dataset nor an `operator` says it. Default: the only one of the state.
    sampler : {"bilinear", "cubic", "monotone"}
        How the field is found between grid points.
    every : duration, optional
        In a call without images: time between the states of the result, which begin with the window and end with it.
        Default: these two alone.
    half_open : bool
        Leave out the points at the beginning of a window, which belong to the window before: for windows that follow
        one another in calls of their own. Cycled windows are half-open by themselves.
    operator : callable, optional
        H, as of `Images`: a function of the state that returns a field on the grid, (window, 1, \\*grid).
    error : float, optional
        Standard deviation, if the Dataset has no ``std``. Errors of points are uncorrelated.
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
        if self.error is not None and not isinstance(self.error, (int, float, np.number)):
            faults.add(
                code="points-error",
                found=f"an error of type {type(self.error).__name__} of points",
                expected="a number, or a variable std of the points",
                fix="Points(points, error=0.02)",
            )
        faults.raise_if_any()


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


def is_table(data: Any) -> TypeGuard[xr.Dataset]:
    """Return whether data are a table of points: a Dataset with a 1-D ``value``."""
    return isinstance(data, xr.Dataset) and "value" in data and data["value"].ndim == 1


def read_rows(points: Points, names: Sequence[str], faults: Faults) -> dict[str, Array] | None:
    """Return the columns (point,) of a table of observations of some variables; None if a fault was added.

    They are ``date``, ``value``, ``std`` and ``variable``, the number of the observed variable in `names`, zero if an
    operator makes what is observed.
    """
    before, dataset = len(faults), points.dataset
    if not is_table(dataset):
        held = "none" if dataset is None else ", ".join(map(str, getattr(dataset, "variables", [dataset])))
        faults.add(
            code="points-not-a-table",
            found=f"points with the variables {held or 'none'}",
            expected="value, std, variable, time and the coordinates of the grid along one dimension",
            fix="observation=xvar.observation.Points(table)",
        )
        return None
    value = np.asarray(dataset["value"].values, dtype="float64")
    date = read_dates(dataset, faults)
    stated = dataset["std"].values if "std" in dataset else np.nan if points.error is None else points.error
    std = np.broadcast_to(np.asarray(stated, dtype="float64"), value.size).copy()
    wrong = np.isfinite(value) & ~(std > 0)
    if wrong.any():
        faults.add(
            code="points-std-not-positive",
            variable="std",
            index=int(np.flatnonzero(wrong)[0]),
            found=f"{int(wrong.sum())} points with a value and no positive standard deviation",
            expected="that of the error of observation, in the units of the value",
            fix="a variable std of the points, or Points(points, error=0.02)",
        )
    variable = np.zeros(value.size, dtype="int64")
    if points.operator is None:
        variable = _observed(points, dataset, names, faults)
    if len(faults) > before or date is None:
        return None
    return {"date": date, "value": value, "std": std, "variable": variable}


def _observed(points: Points, dataset: xr.Dataset, names: Sequence[str], faults: Faults) -> Array:
    """Return the number of the observed variable in `names` of each point; report those that are none."""
    only = names[0] if len(names) == 1 else None
    own = dataset["variable"].values if "variable" in dataset else points.variable or only
    words = np.broadcast_to(np.asarray("" if own is None else own).astype(str), dataset["value"].size).tolist()
    unknown = [index for index, word in enumerate(words) if word not in names]
    expected = f"a variable of the state: {', '.join(map(repr, names))}"
    if own is None:
        faults.add(
            code="points-without-variable",
            found="points that do not name the observed variable",
            expected=expected,
            fix=f"Points(points, variable={names[0]!r}), or a variable of the points named variable",
        )
    elif unknown:
        faults.add(
            code="observed-variable-unknown",
            variable="variable",
            index=unknown[0],
            found=f"observations of {', '.join(map(repr, sorted({words[index] for index in unknown})))}",
            expected=expected,
            fix=f"rename them to {names[0]!r}, or leave them out",
        )
    return np.array([names.index(word) if word in names else 0 for word in words], dtype="int64")


def read_dates(dataset: xr.Dataset, faults: Faults) -> Array | None:
    """Return the date of each point; None if there is none."""
    time = dataset.variables.get("time")
    if time is None or time.dtype.kind != "M" or time.dims != dataset["value"].dims:
        faults.add(
            code="points-without-date",
            variable="time",
            found="no date of each point",
            expected="time, datetime64, along the dimension of value",
            fix="points.assign_coords(time=(dim, dates))",
        )
        return None
    return np.asarray(time.values)
