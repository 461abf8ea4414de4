"""Outputs as the contract has them, made of a real input without any assimilation."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import xarray as xr

from xvar.cf.axes import Axes, canonical, find_axes
from xvar.cf.grid import horizontal_grid
from xvar.cf.kinds import kind
from xvar.cf.metadata import attributes
from xvar.cf.times import read_times
from xvar.cf.units import units_of
from xvar.errors import Faults

#: The files, the variable that is assimilated, and the kind of its grid.
FILES = {
    "currents-duacs-ionian-202401.nc": ("adt", "geographic"),
    "currents-norkyst800-20151116.nc": ("u", "projected"),
    "ocean-arctic20-20160201.nc": ("temperature", "projected"),
    "ocean-norkyst800-20160114.nc": ("temperature", "projected"),
    "radar-fmi-20160928.nc": ("rainfall_rate", "projected"),
    "radar-knmi-20100826.nc": ("rainfall_rate", "projected"),
    "radar-mch-20150515.nc": ("rainfall_rate", "projected"),
    "radar-meteonet-brest-20180103.nc": ("rain", "projected"),
    "radar-meteonet_rain_NW_20160828_1000.nc": ("rainfall", "geographic"),
    "radar-meteonet_rain_NW_20160828_1300.nc": ("rainfall", "geographic"),
    "radar-meteonet_rain_SE_20160828_1000.nc": ("rainfall", "geographic"),
    "radar-meteonet_rain_SE_20160828_1300.nc": ("rainfall", "geographic"),
    "sst-alboran-avhrr-201705.nc": ("SST", "geographic"),
}


def context(dataset: xr.Dataset, name: Hashable) -> tuple[xr.DataArray, Axes, dict[str, str]]:
    """The canonical variable, its axes and what the table of metadata wants to know."""
    faults = Faults()
    axes = find_axes(dataset[name], faults)
    assert axes is not None
    array = canonical(dataset[name], axes, faults)
    units = units_of(dataset[name], None, faults)
    grid = horizontal_grid(dataset[name], axes, faults, mapping=dataset)
    faults.raise_if_any()
    assert array is not None
    assert units is not None
    assert grid is not None
    known = {"variable": str(name), "kind": kind(array, dataset), "grid_kind": grid.kind, "units": units}
    if "standard_name" in array.attrs:
        known["standard_name"] = array.attrs["standard_name"]
    return array, axes, known


def analysis(dataset: xr.Dataset, name: Hashable, frames: int = 3) -> xr.Dataset:
    """An analysis of one window of two or three frames and of a second one that overlaps it."""
    array, axes, known = context(dataset, name)
    times = read_times(array, axes, Faults())
    assert times is not None
    frames = min(frames, times.values.size - 1)
    rows = np.arange(2)[:, None] * (times.values.size - frames) + np.arange(frames)
    plane = {dim: array.sizes[dim] for dim in (axes.y, axes.x)}
    images = array.values[rows].astype(np.float32)
    dims = ("window", "step", axes.y, axes.x)
    generator = np.random.default_rng(0)

    def field(row: str, *lead: str) -> tuple[tuple[Hashable, ...], np.ndarray, dict[str, object]]:
        sizes = {"window": 2, "step": frames, "interval": frames - 1}
        shape = tuple(sizes[dim] for dim in lead) + tuple(plane.values())
        values = generator.normal(size=shape).astype(np.float32)
        return (*lead, *plane), values, attributes(row, **known)

    data = {
        name: (dims, images, dict(array.attrs)),
        f"{name}_observed": (("window", *plane), images[:, -1], attributes("observed", **known)),
        f"{name}_forcing": field("forcing", "window", "interval"),
        f"{name}_increment": field("increment", "window"),
        f"{name}_innovation": field("innovation", "window", "step"),
        f"{name}_residual": field("residual", "window", "step"),
        "status": ("window", np.array([1, 3], np.int8), attributes("status")),
        "cost": (("window", "stage"), np.ones((2, 2)), attributes("cost")),
        "gradient_norm": ("window", np.ones(2), attributes("gradient_norm")),
        "evaluations": ("window", np.ones(2, np.int64), attributes("evaluations")),
        "number_of_observations": ("window", np.ones(2, np.int64), attributes("number_of_observations")),
    }
    for term in ("background", "observation", "model_error", "bogus"):
        data[f"cost_{term}"] = (("window", "stage"), np.ones((2, 2)), attributes(f"cost_{term}"))
    motion = {"u": "u", "v": "v"} if name not in ("u", "v") else {"u": "motion_u", "v": "motion_v"}
    for component, own in motion.items():
        data[own] = field(component, "window")
    coords = {key: value for key, value in array.coords.items() if axes.time not in value.dims}
    time = array[axes.time]
    result = xr.Dataset(data, coords=coords, attrs={"xvar_window": "4 frames"})
    stage = np.array([0, 1], np.int8)
    return result.assign_coords(
        {
            axes.time: (("window", "step"), times.values[rows], {**time.attrs, **attributes("time")}),
            "forecast_reference_time": ("window", times.values[rows[:, -1]], attributes("forecast_reference_time")),
            "stage": ("stage", stage, attributes("stage")),
        }
    )


def forecast(dataset: xr.Dataset, name: Hashable, steps: int = 3) -> xr.Dataset:
    """A forecast from the last frame of the record."""
    array, axes, _ = context(dataset, name)
    times = read_times(array, axes, Faults())
    assert times is not None
    step = times.values[1] - times.values[0]
    leads = np.arange(1, steps + 1)
    last = array.isel({axes.time: -1})
    images = np.broadcast_to(last.values, (1, steps, *last.shape)).astype(np.float32)
    dims = ("window", "lead_time", axes.y, axes.x)
    coords = {key: value for key, value in array.coords.items() if axes.time not in value.dims}
    result = xr.Dataset(
        {
            name: (dims, images, dict(array.attrs)),
            "origin": (dims, np.zeros(images.shape, np.int8), attributes("origin")),
        },
        coords=coords,
    )
    lead = np.asarray(leads * np.timedelta64(int(times.seconds[1]), "s"), dtype="timedelta64[ns]")
    valid = (times.values[-1] + leads * step)[None]
    return result.assign_coords(
        {
            "lead_time": ("lead_time", lead, attributes("lead_time")),
            axes.time: (("window", "lead_time"), valid, {**array[axes.time].attrs, **attributes("time")}),
            "forecast_reference_time": ("window", times.values[-1:], attributes("forecast_reference_time")),
        }
    )


def scores(dataset: xr.Dataset, name: Hashable) -> xr.Dataset:
    """Scores of such a forecast, pooled and by window."""
    _, _, known = context(dataset, name)
    lead = np.arange(1, 4).astype("timedelta64[h]").astype("timedelta64[ns]")
    by_threshold = ("lead_time", "threshold")
    return xr.Dataset(
        {
            "rmse": ("lead_time", np.ones(3), attributes("rmse", **known)),
            "rmse_window": (("window", "lead_time"), np.ones((1, 3)), attributes("rmse", **known)),
            "csi": (by_threshold, np.ones((3, 2)), attributes("csi", **known)),
            "fss": (by_threshold, np.ones((3, 2)), attributes("fss", **known)),
            **{
                count: (by_threshold, np.ones((3, 2), np.int64), attributes(count, **known))
                for count in ("hits", "misses", "false_alarms", "correct_negatives")
            },
            "number_of_pairs": ("lead_time", np.ones(3, np.int64), attributes("number_of_pairs")),
            "number_without_truth": ("lead_time", np.ones(3, np.int64), attributes("number_without_truth")),
        },
        coords={
            "lead_time": ("lead_time", lead, attributes("lead_time")),
            "threshold": ("threshold", np.array([0.5, 5.0]), attributes("threshold", **known)),
            "scale": ((), 10e3, attributes("scale")),
            "forecast_reference_time": (
                "window",
                np.array(["2018-01-03T23:15"], "datetime64[ns]"),
                attributes("forecast_reference_time"),
            ),
        },
    )
