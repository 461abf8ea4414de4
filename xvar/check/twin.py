"""Twin experiment of a configuration: whether a known motion of a record's own pattern is recovered."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.record import Record
from xvar.check.conformance import Report, Rows
from xvar.errors import AnalysisWarning, Faults
from xvar.execution.batches import WindowBatch, WindowError
from xvar.execution.dispatch import deferred
from xvar.plan.bridge import ascending
from xvar.quality.control import QualityControl
from xvar.quality.rules import Screen, read_quality

#: Options of windows, of what is written, and of what belongs to the grid of the record.
NOT_OF_TWIN = (
    *("window", "stride", "batch", "save", "uncertainty", "samples"),
    *("background", "land", "units", "dx", "dy", "sort"),
)
FRAMES = 7  # two windows
SIDE = 96  # points along y and x at most
SPEED = 1.5  # cells in a frame of the fastest motion
EDGE = 6  # points at the edges that are not compared: the motion there comes from outside
RECOVERED = 0.5  # share of the motion that passes
PATTERN = 0.02  # share of the points that must hold a pattern


def twin_report(record: Record, options: Mapping[str, Any]) -> Report:
    """Test a configuration on images with the pattern, spacing, cadence and gaps of a record and a known motion."""
    from xvar.assimilation import assimilate

    truth, images = _images(record)
    name = str(record.name)
    options = {key: value for key, value in options.items() if key not in NOT_OF_TWIN}
    rows = Rows()
    subject = f"configuration, on a twin of {images.sizes['y']} x {images.sizes['x']} points"
    pattern = _pattern(images[name].values)
    plain = f"{pattern.mean():.1%} of the points have a value that differs from their neighbours: no motion to be seen"
    if not rows.test("the images hold a pattern", max(PATTERN - pattern.mean(), 0), 0.0, plain):
        return Report(subject, tuple(rows))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AnalysisWarning)
        try:
            analysis = assimilate(images, name, **options)
            again = assimilate(images, name, **options)
            alone = assimilate(images.isel(time=slice(3, FRAMES)), name, **options)
            gradient = _gradient_error(images, name, options)
        except WindowError as failure:
            rows.test("the analysis runs", 1.0, 0.0, str(failure))
            return Report(subject, tuple(rows))
    edge = min(EDGE, *(side // 4 for side in pattern.shape))
    inner = (..., slice(edge, pattern.shape[0] - edge), slice(edge, pattern.shape[1] - edge))
    seen = pattern[inner]
    error = np.hypot(*(analysis[n].values[:, -1][inner] - truth[n][inner] for n in ("u", "v")))[:, seen]
    size = np.hypot(truth["u"], truth["v"])[inner][seen]
    share = 1 - float(np.nanmean(error)) / float(np.nanmean(size))
    poor = (
        f"{max(share, 0):.0%} of a motion of {SPEED:g} cells in a frame: a richer pattern, a shorter time between "
        "frames, fewer missing values or a larger background error would recover more"
    )
    rows.test("a known motion is recovered", 1 - share, 1 - RECOVERED, poor)
    last, see = analysis.isel(window=[-1]), "see xvar.check.dynamics"
    rows.test(
        "the same call twice, the same bits", _differ(analysis, again), 0.0, "the model, or the threads, are random"
    )
    rows.test("a window alone, as in a batch", _differ(last, alone), 0.0, f"windows see one another: {see}")
    rows.test("the gradient of J, by differences", gradient, 1e-2, f"autograd does not see all of J: {see}")
    return Report(subject, tuple(rows))


def _differ(one: xr.Dataset, other: xr.Dataset) -> float:
    pairs = ((one[name].values, other[name].values) for name in ("u", "v", "cost"))
    return float(not all(np.array_equal(a, b, equal_nan=True) for a, b in pairs))


def _images(record: Record) -> tuple[dict[str, NDArray[Any]], xr.Dataset]:
    """Return a known motion, and images of the record's pattern that it moves, with its missing values."""
    from xvar.datasets import twin

    axes = record.axes
    array = record.array.transpose(axes.time, axes.y, axes.x)
    values = np.asarray(array.isel({axes.time: slice(0, FRAMES)}).values, dtype="float64")
    control = QualityControl(Screen.of_record(record), read_quality(None, record.kind, Faults()))
    values = _busiest(ascending(control(values[:, None])[0][:, 0], record.grid))
    best = values[np.isfinite(values).sum(axis=(1, 2)).argmax()]
    first = np.where(np.isfinite(best), best, np.nanmean(best) if record.kind != "rain" else 0.0)
    (rows, columns), (dy, dx), frame = first.shape, record.grid.spacing, record.cadence
    below, right = np.linspace(0, np.pi, rows)[:, None], np.linspace(0, np.pi, columns)[None, :]
    speeds = {
        "u": SPEED * dx / frame * (0.8 + 0.2 * np.cos(below)) * np.ones_like(right),
        "v": -0.5 * SPEED * dy / frame * (0.8 + 0.2 * np.cos(right)) * np.ones_like(below),
    }
    start = np.datetime64("2000-01-01", "ns")
    times = start + np.round(np.arange(FRAMES) * frame * 1e9).astype("timedelta64[ns]")
    coordinates = {
        "y": ("y", dy * np.arange(rows), {"units": "m", "standard_name": "projection_y_coordinate"}),
        "x": ("x", dx * np.arange(columns), {"units": "m", "standard_name": "projection_x_coordinate"}),
    }
    dims = ("time", "y", "x")
    steady = {name: (dims, np.stack([part, part]), {"units": "m s-1"}) for name, part in speeds.items()}
    motion = xr.Dataset(steady, {"time": times[[0, -1]], **coordinates})
    moved = twin(motion, times=times, image=xr.DataArray(first, dims=("y", "x")), noise=0.0)["temperature"].values
    if record.kind == "rain":
        moved = moved.clip(min=0)
    holes = ~np.isfinite(values[np.arange(FRAMES) % len(values)])
    attrs = {key: value for key, value in record.array.attrs.items() if key in ("standard_name", "long_name")}
    images = (dims, np.where(holes, np.nan, moved), {**attrs, "units": record.units})
    # The record may have the name of a coordinate.
    made = xr.Dataset({"images": images}, {"time": times, **coordinates})
    return speeds, made.rename({"images": str(record.name)})


def _busiest(values: NDArray[Any]) -> NDArray[Any]:
    """Return the part of images (time, y, x), at most `SIDE` points a side, that holds most of the pattern."""
    filled = np.where(np.isfinite(values), values, np.nan)
    spread = np.abs(np.nan_to_num(filled - np.nanmean(filled))).sum(axis=0)
    parts = []
    for axis in (0, 1):
        weight = spread.sum(axis=1 - axis)
        side = min(SIDE, weight.size)
        begin = int(np.convolve(weight, np.ones(side), mode="valid").argmax())
        parts.append(slice(begin, begin + side))
    return values[:, parts[0], parts[1]]


def _pattern(images: NDArray[Any]) -> NDArray[np.bool_]:
    """Return the points of the last frame at which a motion can be seen."""
    last = images[-1]
    spread = float(np.nanstd(images))
    steep = np.hypot(*np.gradient(last))
    return np.asarray(np.isfinite(steep) & (steep > 0.01 * spread)) if spread > 0 else np.zeros(last.shape, dtype=bool)


def _gradient_error(images: xr.Dataset, name: str, options: Mapping[str, Any]) -> float:
    """Return the relative error of the gradient of J, away from the background, along a random direction."""
    import torch

    from xvar.assimilation import assimilate
    from xvar.core.cost import Cost

    with deferred() as tasks:
        assimilate(images.isel(time=slice(0, 4)), name, **{**options, "dtype": "float64"})
    assert tasks.work is not None
    (batch,) = tasks.batches
    frames = images[name].values[None, :4]
    seconds = tuple(float(second) for second in batch.seconds[0])
    pipeline: Any = tasks.work.solve
    cost = Cost(pipeline.solver.problem(WindowBatch(frames, seconds, batch.needed[batch.frames], batch.starts)))
    generator = torch.Generator().manual_seed(0)

    def random(scale: float) -> Any:
        return scale * torch.randn(cost.zero().shape, generator=generator, dtype=torch.float64)

    control, direction, step = random(0.01), random(1.0), 1e-6
    (_, gradient), (ahead, _), (behind, _) = (cost.gradient(control + k * step * direction) for k in (0, 1, -1))
    along = float((gradient * direction).sum())
    return abs(float((ahead - behind).sum()) / (2 * step) - along) / max(abs(along), 1e-300)
