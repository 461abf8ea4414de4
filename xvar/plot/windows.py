"""Images, arrows and scores of one window, in plain arrays, for the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.analysis.forecast import forecast
from xvar.analysis.outputs import SHOWN, Part, configuration_of, motion_of
from xvar.analysis.verify import verify
from xvar.errors import InputError
from xvar.plot.animation import Film, make_film
from xvar.plot.canvas import Pair, coarsen, components, make_canvas, typical_speed
from xvar.plot.colours import field_scale

SEVERAL = 8  # windows that the colours are chosen from
ARROWS = 16  # along the longer side


@dataclass(frozen=True)
class Shown:
    """Images of one window, a table of arrows for each, and scores, None if nothing was observed after the window."""

    film: Film
    arrows: list[dict[str, NDArray[np.float64]]]  # tails x, y and heads x_end, y_end on the canvas, speed in m s-1
    unit: float  # length of an arrow of 1 m s-1 on the canvas, along x
    typical: float  # speed in m s-1
    scores: xr.Dataset | None
    members: NDArray[Any] | None = None  # (member, lead, y, x), of the frames after the window

    def probability(self, frame: int, limit: float) -> NDArray[Any]:
        """Return the share of members at or above a limit (y, x), in a frame of the analysis 0 or 1."""
        known, lead = self.film.values[frame], frame - int((self.film.leads <= 0).sum())
        values = known[None] if self.members is None or lead < 0 else self.members[:, lead]
        return np.where(np.isfinite(known), (values >= limit).mean(axis=0), np.nan)


class Record:
    """An analysis and the observed record, by default the last frames of its windows; only shown windows are computed.

    Raise InputError if it is no analysis, the truth does not fit it, or it can have no such number of members.
    """

    def __init__(
        self,
        analysis: xr.Dataset,
        truth: xr.Dataset | xr.DataArray | None = None,
        part: Part = SHOWN,
        members: int | None = None,
        coastlines: str | None = None,
    ) -> None:
        self.configuration = configuration_of(analysis, "{variable}", "u", "v", "{variable}_observed")
        name = self.name = self.configuration.variable
        motion_of(analysis, part)
        self.part = part
        self.analysis = analysis if "window" in analysis.dims else analysis.expand_dims("window")
        self.windows = self.analysis.sizes["window"]
        self.canvas = make_canvas(self.analysis["u"], analysis, self.configuration, coastlines)
        self.moving = self.canvas.moving(analysis)
        self.members = members
        if members is not None:  # lazy: checked, not computed
            frame = np.timedelta64(round(self.configuration.frame * 1e9), "ns")
            forecast(self.analysis.isel(window=[0]).chunk(), frame, members=members)
        self.truth = observed_frames(self.analysis, name) if truth is None else truth
        some = np.unique(np.linspace(0, self.windows - 1, SEVERAL).round().astype(int))
        observed = self.analysis[f"{name}_observed"]
        self.scale = field_scale([observed.isel(window=some).values], observed, self.configuration)

    def window(self, index: int) -> Shown:
        """Return one window, with a forecast as long as the window."""
        one = self.analysis.isel(window=[index]).load()
        film = make_film(one, self.truth, self.configuration, self.canvas, None, self.part)
        steps = [one.isel(window=0, step=step) for step in range(one.sizes["step"])]
        pairs = [components(*motion_of(step, self.part), self.canvas) for step in steps]
        typical = typical_speed(pairs)
        last = int((film.leads <= 0).sum()) - 1
        unit = 0.95 * float(max(np.ptp(self.canvas.x), np.ptp(self.canvas.y) * self.canvas.aspect)) / ARROWS
        unit /= typical or 1.0
        seen = np.isfinite(
            one[f"{self.configuration.variable}_observed"].isel(window=0).transpose(*self.canvas.dims).values
        )
        masked = [(np.where(seen, u, np.nan), np.where(seen, v, np.nan)) for u, v in pairs]
        arrows = [self._arrows(masked[min(frame, last)], unit) for frame in range(len(film.times))]
        members = None
        if self.members is not None:
            ahead = forecast(one, film.ahead["lead_time"].values[-1], members=self.members)[self.name].isel(window=0)
            members = ahead.transpose("member", "lead_time", *self.canvas.dims).values
        return Shown(film, arrows, unit, typical, self._scores(film), members)

    def _arrows(self, pair: Pair, length: float) -> dict[str, NDArray[np.float64]]:
        *places, u, v, _ = coarsen(self.canvas.y, self.canvas.x, *pair, self.canvas, ARROWS)
        y, x = np.meshgrid(*places, indexing="ij")
        speed = np.hypot(u, v)
        arrows = {"x": x, "y": y, "x_end": x + u * length, "y_end": y + v * length / self.canvas.aspect, "speed": speed}
        return {name: values[speed > 0] for name, values in arrows.items()}

    def _scores(self, film: Film) -> xr.Dataset | None:
        try:
            scores = verify(film.ahead, self.truth)
        except InputError:  # no frame in common
            return None
        return scores if scores["rmse"].notnull().any() else None


def observed_frames(analysis: xr.Dataset, name: str) -> xr.DataArray:
    """Return the last frames of the windows, which an analysis holds, as a record (time, y, x)."""
    last = analysis[f"{name}_observed"]
    times = analysis["forecast_reference_time"]
    record = last.drop_vars([key for key, part in last.coords.items() if "window" in part.dims]).rename(name)
    attributes: dict[str, Any] = {key: value for key, value in times.attrs.items() if key != "long_name"}
    time = ("time", times.values, attributes | {"standard_name": "time"})
    frames = record.rename(window="time").assign_coords(time=time)
    return frames.isel(time=np.unique(times.values, return_index=True)[1])
