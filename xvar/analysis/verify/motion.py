"""Scores of analysed motion against true velocities, by step."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.analysis.verify.events import EACH_WINDOW, label_scores
from xvar.analysis.verify.truth import read_truth, refuse_missing
from xvar.cf.axes import find_axes, is_number
from xvar.cf.conventions import identity, to_cf
from xvar.cf.grid.coordinates import in_metres
from xvar.cf.metadata import attributes
from xvar.errors import Fault, Faults, InputError

BY_WINDOW, POOLED = ("window", "step"), ("step",)

_STANDARD_NAMES = {
    "u": re.compile(r"(^|_)(eastward|x)_(.*_)?velocity|_x_velocity$"),
    "v": re.compile(r"(^|_)(northward|y)_(.*_)?velocity|_y_velocity$"),
}
_NAMES = {"u": ("u", "uo", "ugos", "water_u"), "v": ("v", "vo", "vgos", "water_v")}


def verify_motion(data: xr.Dataset, truth: xr.Dataset | xr.DataArray) -> xr.Dataset:
    """Return the scores of an analysed motion, see `xvar.analysis.verify.verify`."""
    if not isinstance(truth, xr.Dataset):
        found, fix = "a DataArray as the truth of a motion", "verify(ds), or verify a forecast"
        raise InputError(Fault(found, "a Dataset with the true u and v", fix, code="truth-not-a-dataset"))
    if "window" not in data.dims:
        data = data.expand_dims("window")
    times = data["time"].drop_vars(list(data["time"].coords))
    if "window" not in times.dims:
        times = times.expand_dims(window=data.sizes["window"])
    moments = times.transpose(*BY_WINDOW).values
    motion, true, without = _compared(data, truth, moments)
    fields: dict[str, xr.DataArray] = {}
    for suffix, kept in (("", POOLED), (EACH_WINDOW, BY_WINDOW)):
        fields |= {f"{name}{suffix}": part.transpose(*kept) for name, part in _scores(motion, true, kept).items()}
    fields["number_without_truth"] = xr.DataArray(without.sum(axis=0), dims=POOLED)
    coordinates: dict[Hashable, Any] = {"time": (BY_WINDOW, moments, dict(data["time"].attrs))}
    scored = label_scores(data, fields, coordinates, attributes)
    return to_cf(scored, data, action=f"verify of the motion against {identity(truth)}")


def _compared(
    data: xr.Dataset, truth: xr.Dataset, moments: NDArray[Any]
) -> tuple[xr.DataArray, xr.DataArray, NDArray[np.bool_]]:
    """Return the motion and the true one (component, window, step, y, x), NaN unless both are known.

    The third array marks the times (window, step) that the truth lacks.
    """
    faults = Faults()
    axes = faults.require(find_axes(data["u"].isel(window=0, step=0, drop=True).expand_dims("time"), faults))
    pairs = []
    without = np.zeros(moments.shape, dtype=bool)
    for component, turned in (("u", "eastward"), ("v", "northward")):
        variable = _true_component(truth, component, data, faults)
        name = turned if variable is not None and _is_geographic(variable) and turned in data else component
        own = data[name].transpose(*BY_WINDOW, axes.y, axes.x)
        known = None if variable is None else read_truth(variable, own, axes, "m s-1", faults, steady=True)
        if known is not None:
            without = known.indices(moments) < 0
            pairs.append((np.asarray(own.values, dtype=np.float64), known.at(moments)))
    faults.raise_if_any()
    missing = ~np.isfinite(sum(values + true for values, true in pairs))
    if missing.all():
        found = "no point and time at which both the motion and the truth are known"
        expected = "true velocities at the times of the analysis"
        fix = "a truth that covers the analysis, or one without time"
        raise InputError(Fault(found, expected, fix, code="no-common-point"))
    fields = (np.where(missing, np.nan, np.stack(side)) for side in zip(*pairs, strict=True))
    motion, true = (xr.DataArray(field, dims=("component", *BY_WINDOW, "y", "x")) for field in fields)
    return motion, true, without


def _is_geographic(true: xr.DataArray) -> bool:
    """Return whether a true component is towards east or north."""
    return re.search(r"eastward|northward", str(true.attrs.get("standard_name", ""))) is not None


def _true_component(truth: xr.Dataset, component: str, data: xr.Dataset, faults: Faults) -> xr.DataArray | None:
    """Return a true component: by standard name, else by name."""
    numbers = [key for key, part in truth.data_vars.items() if is_number(part) and part.ndim >= 2]
    found = [
        key for key in numbers if _STANDARD_NAMES[component].search(str(truth[key].attrs.get("standard_name", "")))
    ]
    if len(found) != 1:
        found = [key for name in _NAMES[component] for key in numbers if str(key) == name][:1]
    if not found:
        expected = f"a velocity by its standard name, or a variable {component!r}"
        fix = "rename the true velocities to 'u' and 'v', ds.rename(...)"
        if any(f"{key}_observed" in data for key in numbers):  # images, which verify a forecast
            fix = 'analysis.var4d.forecast("30min"), and verify it with this record'
        refuse_missing(component, numbers, expected, fix, faults)
        return None
    variable = in_metres(truth, found[0], [])[found[0]]
    turned = "towards increasing" not in str(data[component].attrs.get("long_name", "")) or "eastward" in data
    if _is_geographic(variable) and not turned:
        faults.add(
            variable=found[0],
            code="different-axes",
            found=f"{variable.attrs['standard_name']}, while the motion of the analysis is along the axes of its grid",
            expected="both towards east and north, or both along the axes of the grid",
            fix="analysis.var4d.to_geographic().var4d.verify(truth), or rotate the truth to the grid, and name it "
            "x_sea_water_velocity and y_sea_water_velocity",
        )
        return None
    return variable if "units" in variable.attrs else variable.assign_attrs(units="m s-1")


def _scores(motion: xr.DataArray, true: xr.DataArray, kept: tuple[str, ...]) -> dict[str, xr.DataArray]:
    from scores import continuous

    over = [dim for dim in (*BY_WINDOW, "y", "x") if dim not in kept]
    squared = continuous.mse(motion, true, preserve_dims=("component", *kept)).sum("component", skipna=False)
    distance = np.hypot(*(motion - true).transpose("component", ...))
    centred = [part - part.mean(over) for part in (motion, true)]
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "end_point_error": distance.mean(over),
            "vector_rmse": np.sqrt(squared),
            "angular_error": _angle(motion, true).mean(over),
            "vector_correlation": continuous.correlation.pearsonr(*centred, preserve_dims=kept),
            "number_of_pairs": np.isfinite(distance).sum(over),
        }


def _angle(motion: xr.DataArray, true: xr.DataArray) -> xr.DataArray:
    """Return the angle between two vectors in degrees; NaN if one of them is at rest."""
    (u, v), (u_true, v_true) = (part.transpose("component", ...) for part in (motion, true))
    angle: xr.DataArray = np.degrees(np.abs(np.arctan2(u * v_true - v * u_true, u * u_true + v * v_true)))
    return angle.where((np.hypot(u, v) > 0) & (np.hypot(u_true, v_true) > 0))
