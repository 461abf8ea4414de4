"""Nowcasts to 90 minutes: xvar's two kinds beside S-PROG, the mean of STEPS and LINDA of pysteps.

Events, pixels and scores are those of `benchmarks.nowcast`, on windows that leave 90 minutes to judge. The methods of
pysteps have Lucas-Kanade's motion, and the last frame's values outside the grid, as all do. A slow one has fewer
windows, and is compared on those.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from benchmarks.ensembles import DRY, LINDA, STEPS, pysteps_ensemble
from benchmarks.nowcast import (
    EVENTS,
    FLOWS,
    FORECASTERS,
    FRAMES,
    OCTAVES,
    SCORES,
    WINDOWS,
    Array,
    Event,
    Forecaster,
    contribution,
    data_folder,
    decibels,
    frames_of,
    pooled,
)

LEADS = (15, 30, 45, 60, 90)  # minutes
SPROG, UNMATCHED = "S-PROG", "S-PROG, not matched"


class Longer(Event):
    """An event whose windows leave the longest lead to judge."""

    @property
    def steps(self) -> dict[int, int]:
        """Frames ahead, by lead in minutes."""
        return {lead: round(lead * 60 / self.seconds) for lead in LEADS}

    @property
    def starts(self) -> list[int]:
        """First frames of the windows, spread over the event."""
        room = len(self.record["time"]) - FRAMES - max(self.steps.values())
        return [round(start) for start in np.linspace(0, room, WINDOWS)]


def of_pysteps(method: str, window: xr.Dataset, event: Event) -> Array:
    """One forecast by a method of pysteps (lead, y, x) in mm/h."""
    frames, count = frames_of(window, event), max(event.steps.values())
    flow = FLOWS["Lucas-Kanade"](frames)
    with contextlib.redirect_stdout(io.StringIO()):
        from pysteps.nowcasts import linda, sprog

        if method == STEPS:
            rates = pysteps_ensemble(STEPS, frames, flow, event).mean(0)
        elif method == LINDA:
            last = np.where(frames[-3:] < DRY, 0.0, frames[-3:])
            rates = linda.forecast(last, flow, count, add_perturbations=False)
        else:
            matching = "cdf" if method == SPROG else None
            found = sprog.forecast(decibels(frames[-3:]), flow, count, precip_thr=-10.0, probmatching_method=matching)
            rates = np.where(found < -10.0, 0.0, 10 ** (found / 10))
            rates[~np.isfinite(found)] = np.nan
    rates = np.where(np.isfinite(rates), rates, frames[-1])
    return np.asarray(rates[[step - 1 for step in event.steps.values()]])


#: Forecasters, and how many windows apart those are that they have.
METHODS: dict[str, tuple[Forecaster, int]] = {
    **{name: (FORECASTERS[name], 1) for name in ("persistence", "xvar", "xvar, kind mean", "Lucas-Kanade")},
    **{name: (partial(of_pysteps, name), 1) for name in (SPROG, UNMATCHED)},
    STEPS: (partial(of_pysteps, STEPS), 2),
    LINDA: (partial(of_pysteps, LINDA), WINDOWS),
}


def run_event(event: Event) -> dict[str, Array]:
    """Contributions (window, lead, part, 2) by method."""
    rain = event.rain
    parts: dict[str, Array] = {}
    for name, (method, apart) in METHODS.items():
        rows = []
        for start in event.starts[::apart]:
            forecasts, now = method(event.window(start), event), start + FRAMES - 1
            pairs = zip(forecasts, event.steps.values(), strict=True)
            rows.append([contribution(one, rain[now + step], event) for one, step in pairs])
        parts[name] = np.array(rows)
    return parts


def measure() -> dict[str, dict[str, Array]]:
    """Contributions by event and method."""
    there = [name for name in EVENTS if (data_folder() / f"radar-{name}.nc").exists()]
    return {name: run_event(Longer.load(name)) for name in there}


def scores(parts: Mapping[str, Mapping[str, Array]], name: str, apart: int = 1) -> Array:
    """Mean over events (lead, score), the RMSE over that of persistence, on windows so far apart."""
    found = []
    for own in parts.values():
        result = pooled(own[name][:: apart // METHODS[name][1]])
        result[..., 0] /= pooled(own["persistence"][::apart])[..., 0]
        found.append(result)
    return np.asarray(np.mean(found, axis=0))


def table(parts: Mapping[str, Mapping[str, Array]]) -> str:
    """Markdown: each score by method and lead, then the power by octave."""
    rows: list[tuple[str, str, int]] = []
    for name, (_, apart) in METHODS.items():
        if name == "persistence":
            continue
        label = {1: "", 2: " (every second window)"}.get(apart, " (first window)")
        rows.append((name + label, name, apart))
        if apart > 1:
            rows.extend((own + label, own, apart) for own in ("xvar", "xvar, kind mean"))
    labels = ("RMSE / persistence", *(score.upper() for score in SCORES[1:]))
    labels += tuple(f"power over observed, {low:.1f} to {2 * low:.1f} pixels" for low in OCTAVES[:-1])
    columns = " | ".join(f"{lead} min" for lead in LEADS)
    lines = [f"| score | forecast | {columns} |", "|---|---|" + "---|" * len(LEADS)]
    for column, label in enumerate(labels):
        for text, name, apart in rows:
            values: Any = scores(parts, name, apart)[:, column]
            lines.append(f"| {label} | {text} | {' | '.join(f'{value:.3f}' for value in values)} |")
    counts = ", ".join(f"{name} {len(own['persistence'])}" for name, own in parts.items())
    return f"Windows: {counts}. Mean over events:\n\n" + "\n".join(lines)


def as_json(parts: Mapping[str, Mapping[str, Array]]) -> dict[str, dict[str, list[Any]]]:
    """Scores by event and method as plain numbers (lead, score)."""
    return {
        event: {name: scores({event: own}, name, METHODS[name][1]).round(4).tolist() for name in METHODS}
        for event, own in parts.items()
    }
