"""What the page shows of one window: images, arrows and scores, in plain arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.analysis.forecast import forecast
from xvar.analysis.verify import verify
from xvar.errors import Fault, InputError
from xvar.plan.configuration import Configuration
from xvar.plot.animation import Film, make_film
from xvar.plot.canvas import Canvas, configuration_of, make_canvas, moment, seconds_of, unit_of_time
from xvar.plot.colours import Scale, field_scale
from xvar.plot.vectors import make_cells, typical_speed

SEVERAL = 8  # windows that the colours are chosen from
ARROWS = 16  # along the longer side


@dataclass(frozen=True)
class Arrows:
    """Arrows (arrow,): tail and head in the units of the canvas, speed in m/s."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    x_end: NDArray[np.float64]
    y_end: NDArray[np.float64]
    speed: NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """RMSE by lead time, NaN where there is no truth."""

    lead: NDArray[np.float64]
    unit: str
    forecast: NDArray[np.float64]
    persistence: NDArray[np.float64]
    label: str


@dataclass(frozen=True)
class Shown:
    """One window.

    Attributes
    ----------
    film : Film
        Images by time.
    arrows : list of Arrows
        For each of them.
    scores : Scores or None
        None where nothing was observed after the window.
    """

    film: Film
    arrows: list[Arrows]
    scores: Scores | None

    def caption(self, frame: int) -> str:
        """What a frame is."""
        seconds = float(self.film.leads[frame])
        length, unit = unit_of_time(float(self.film.leads.max(initial=0.0)))
        return f"forecast +{seconds / length:g} {unit}" if seconds > 0 else "analysis"

    def moment(self, frame: int) -> str:
        """When it is."""
        return moment(self.film.times[frame])


class Record:
    """An analysis, and what was observed.

    Parameters
    ----------
    analysis : Dataset
        Lazy or not; the windows that are looked at are computed.
    truth : Dataset or DataArray, optional
        The observed record. Default: the last frame of every window, which the analysis itself holds.

    Raises
    ------
    InputError
        Where `analysis` is none, or the truth does not fit it.
    """

    def __init__(self, analysis: xr.Dataset, truth: xr.Dataset | xr.DataArray | None = None) -> None:
        self.configuration: Configuration = configuration_of(analysis, "an analysis, as assimilate() gives it")
        name = self.name = self.configuration.variable
        missing = [part for part in (name, "u", "v", f"{name}_observed") if part not in analysis]
        if missing:
            raise InputError(
                Fault(f"a Dataset without {', '.join(missing)}", "an analysis with a motion", "xvar assimilate")
            )
        self.analysis = analysis if "window" in analysis.dims else analysis.expand_dims("window")
        self.windows = self.analysis.sizes["window"]
        self.canvas: Canvas = make_canvas(self.analysis["u"].isel(window=0, step=0), analysis, self.configuration)
        first = self.analysis["u"].isel(window=0, step=0).transpose(*self.canvas.dims)
        self.moving: NDArray[np.bool_] = np.isfinite(first.values)
        self.truth = observed_frames(self.analysis, name) if truth is None else truth
        self.scale = self._scale()

    def _scale(self) -> Scale:
        """One scale of colours for all windows."""
        some = np.unique(np.linspace(0, self.windows - 1, SEVERAL).round().astype(int))
        array = self.analysis[f"{self.name}_observed"].isel(window=some)
        values = xr.DataArray(array.values.ravel(), attrs=array.attrs, name=self.name)
        return field_scale(values, self.configuration)

    def window(self, index: int) -> Shown:
        """Images, arrows and scores of one window, with a forecast as long as the window."""
        one = self.analysis.isel(window=[index]).load()
        film = make_film(one, self.truth, self.configuration, self.canvas, None)
        fields = [one[part].isel(window=0).transpose("step", *self.canvas.dims).values for part in ("u", "v")]
        steps = [(fields[0][step].astype(float), fields[1][step].astype(float)) for step in range(one.sizes["step"])]
        typical = typical_speed(steps)
        analysed = int((film.leads <= 0).sum())
        places = [steps[min(frame, analysed - 1)] for frame in range(len(film.times))]
        return Shown(film, [self._arrows(u, v, typical) for u, v in places], self._scores(one))

    def _arrows(self, u: NDArray[Any], v: NDArray[Any], typical: float) -> Arrows:
        cells = make_cells(self.canvas, ARROWS)
        x, y = np.meshgrid(self.canvas.x[cells.columns].mean(axis=1), self.canvas.y[cells.rows].mean(axis=1))
        along, across = cells.mean(u), cells.mean(v)
        speed = np.hypot(along, across)
        kept = np.isfinite(speed) & (speed > 0)
        length = 0.95 * cells.apart / (typical or 1.0)
        ends = x + along * length, y + across * length / self.canvas.aspect
        return Arrows(x[kept], y[kept], ends[0][kept], ends[1][kept], speed[kept])

    def _scores(self, one: xr.Dataset) -> Scores | None:
        times = one["time"].values[0]
        span = times[~np.isnat(times)][-1] - times[0] if times.dtype.kind == "M" else times[-1] - times[0]
        try:
            scores = verify(forecast(one, span), self.truth)
        except InputError:  # no frame in common
            return None
        if not np.isfinite(scores["rmse"].values).any():
            return None
        seconds = np.array([seconds_of(lead) for lead in scores["lead_time"].values])
        length, unit = unit_of_time(float(seconds.max(initial=0.0)))
        persistence = scores.get("rmse_persistence", scores["rmse"] * np.nan)
        label = f"RMSE ({scores['rmse'].attrs.get('units', '1')})"
        return Scores(seconds / length, unit, scores["rmse"].values, persistence.values, label)


def observed_frames(analysis: xr.Dataset, name: str) -> xr.DataArray:
    """The record (time, y, x) of the last frames of the windows, which an analysis holds."""
    last = analysis[f"{name}_observed"]
    times = analysis["forecast_reference_time"]
    kept = {key: part for key, part in last.coords.items() if "window" not in part.dims}
    record = xr.DataArray(last.data, dims=last.dims, coords=kept, attrs=last.attrs, name=name)
    attributes = {key: value for key, value in times.attrs.items() if key != "long_name"} | {"standard_name": "time"}
    frames = record.rename(window="time").assign_coords(time=("time", times.values, attributes))
    return frames.isel(time=np.unique(times.values, return_index=True)[1])
