"""Nowcasts of real radar events from four frames: xvar's own forecasts beside those of optical flows.

An optical flow gives a motion, along which the last frame is carried: one interpolation for each lead time, and the
last frame's own value where the path comes from outside. xvar is judged by its `forecast()`. One configuration each,
for all events. Rates are in mm/h; pixels at least 36 km from the edges are scored.
"""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

import xvar.datasets

Array = NDArray[Any]
Forecaster = Callable[[xr.Dataset, "Event"], Array]

EVENTS = ("fmi-20160928", "mch-20150515", "knmi-20100826")
FRAMES, FUTURE, WINDOWS = 4, 6, 6
LEADS = (5, 10, 15, 20, 30)  # minutes
EDGE = 36e3  # m
THRESHOLDS = (0.5, 1.0, 5.0)  # mm/h
BOX = 10e3  # m, of the fractions skill score, at 1 mm/h
OCTAVES = 2.8 * 2.0 ** np.arange(5)  # pixels
SCORES = ("rmse", "csi 0.5", "csi 1", "csi 5", "fss")
DRAWS = 2000  # of the bootstrap


def data_folder() -> Path:
    """Where the radar events lie."""
    return Path(os.environ.get("XVAR_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


@dataclass(frozen=True)
class Event:
    """A radar event, and which part of it is judged."""

    name: str
    record: xr.Dataset
    variable: str
    factor: float  # to mm/h
    seconds: float
    spacing: tuple[float, float]  # signed steps along (y, x) in metres
    scored: tuple[slice, slice]

    @classmethod
    def load(cls, name: str) -> Event:
        """An event by its name; the storm of Brest is the package's sample."""
        brest = name == "meteonet-brest"
        if brest:
            record = xvar.datasets.sample()
        else:
            with xr.open_dataset(data_folder() / f"radar-{name}.nc") as opened:
                record = opened.load()
        variable = "rain" if brest else "rainfall_rate"
        seconds = float(np.diff(record["time"].values[:2])[0] / np.timedelta64(1, "s"))
        spacing = tuple(float(np.diff(record[axis].values).mean()) for axis in ("y", "x"))
        if brest:  # too small for the common edge: what comes in is cut off
            scored = (slice(12, None), slice(48, None))
        else:
            scored = tuple(slice(n, -n) for n in (int(np.ceil(EDGE / abs(step))) for step in spacing))
        return cls(name, record, variable, 0.12 if brest else 1.0, seconds, spacing, scored)

    @property
    def rain(self) -> Array:
        """Rates (time, y, x) in mm/h."""
        return self.record[self.variable].transpose("time", "y", "x").values * self.factor

    @property
    def starts(self) -> list[int]:
        """First frames of the windows, spread over the event."""
        room = len(self.record["time"]) - FRAMES - FUTURE
        return [0] if room <= 0 else [round(start) for start in np.linspace(0, room, WINDOWS)]

    @property
    def steps(self) -> dict[int, int]:
        """Frames ahead, by lead in minutes."""
        available = min(FUTURE, len(self.record["time"]) - FRAMES)
        steps = {lead: round(lead * 60 / self.seconds) for lead in LEADS}
        return {lead: step for lead, step in steps.items() if step <= available}

    def window(self, start: int) -> xr.Dataset:
        """The frames that a forecaster sees."""
        return self.record[[self.variable]].isel(time=slice(start, start + FRAMES))


# ---- forecasters


def frames_of(window: xr.Dataset, event: Event) -> Array:
    """Rates (4, y, x) in mm/h without gaps."""
    values = window[event.variable].transpose("time", "y", "x").values
    return np.nan_to_num(values.astype(float) * event.factor)


def xvar_forecast(window: xr.Dataset, event: Event, kind: str = "sharp") -> Array:
    """Defaults of xvar, of a kind of forecast."""
    analysis = window.var4d.assimilate()
    forecast = analysis.var4d.forecast(f"{max(event.steps)}min", kind=kind)[event.variable].isel(window=0)
    leads = [np.timedelta64(lead * 60, "s").astype("m8[ns]") for lead in event.steps]
    taken = forecast.sel(lead_time=leads).sel(y=window["y"], x=window["x"]).transpose("lead_time", "y", "x")
    return np.where(np.isfinite(taken.values), taken.values * event.factor, frames_of(window, event)[-1])


def persistence(window: xr.Dataset, event: Event) -> Array:
    """The last frame."""
    return np.repeat(frames_of(window, event)[-1:], len(event.steps), axis=0)


def flow_forecast(flow: Callable[[Array], Array], window: xr.Dataset, event: Event) -> Array:
    """The last frame along an optical flow: displacements (2, y, x) in pixels a frame along x and y."""
    from scipy.ndimage import map_coordinates

    frames = frames_of(window, event)
    last, displacement = frames[-1], flow(frames)[::-1].astype(float)

    def at(field: Array, place: Array) -> Array:
        return np.asarray(map_coordinates(field, place, order=1, mode="nearest"))

    here = np.indices(last.shape).astype(float)
    highest = np.reshape(last.shape, (2, 1, 1)) - 1
    place, forecasts = here, []
    wanted = set(event.steps.values())
    for step in range(1, max(wanted) + 1):
        shift = np.stack([at(part, place) for part in displacement])
        for _ in range(2):  # to the middle of the path
            shift = np.stack([at(part, place - 0.5 * shift) for part in displacement])
        place = place - shift
        if step in wanted:
            inside = ((place >= 0) & (place <= highest)).all(0)
            forecasts.append(np.where(inside, at(last, place), last))
    return np.stack(forecasts)


def decibels(rain: Array) -> Array:
    """Rates in dB, -15 where it does not rain."""
    return np.where(rain < 0.1, -15.0, 10 * np.log10(np.maximum(rain, 0.1)))


def pysteps_flow(method: str, count: int, frames: Array, **options: Any) -> Array:
    """A motion method of pysteps on the last frames."""
    with contextlib.redirect_stdout(io.StringIO()):  # it says where its configuration lies
        from pysteps import motion

        return np.asarray(motion.get_method(method)(decibels(frames[-count:]), **options))


def opencv_flow(method: str, pairs: int, frames: Array) -> Array:
    """A dense flow of OpenCV, the mean over the last pairs."""
    import cv2

    cv2.setNumThreads(1)
    grey = ((decibels(frames) + 15) * 255 / 37).clip(0, 255).astype("uint8")
    flows = []
    for first, second in zip(grey[-pairs - 1 : -1], grey[-pairs:], strict=True):
        if method == "DIS":
            flows.append(cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(first, second, None))
        else:
            flows.append(cv2.calcOpticalFlowFarneback(first, second, None, 0.5, 5, 25, 3, 7, 1.5, 0))
    return np.moveaxis(np.mean(flows, axis=0), -1, 0)


FLOWS: dict[str, Callable[[Array], Array]] = {
    "Lucas-Kanade": partial(pysteps_flow, "LK", 4),
    "Proesmans": partial(pysteps_flow, "proesmans", 2),
    "VET": partial(pysteps_flow, "VET", 3, verbose=False),
    "DIS": partial(opencv_flow, "DIS", 3),
    "DIS, last pair": partial(opencv_flow, "DIS", 1),
    "Farneback": partial(opencv_flow, "Farneback", 3),
}
FORECASTERS: dict[str, Forecaster] = {
    "persistence": persistence,
    **{name: partial(flow_forecast, flow) for name, flow in FLOWS.items()},
    "xvar": xvar_forecast,
    "xvar, kind mean": partial(xvar_forecast, kind="mean"),
}
PEERS = tuple(name for name in FORECASTERS if not name.startswith("xvar"))
MOVING = tuple(name for name in PEERS if name != "persistence")


# ---- scores


def contribution(forecast: Array, observed: Array, event: Event) -> Array:
    """What one forecast adds to the scores (score, 2), error and reference, then power by octave (octave, 2)."""
    from scipy.ndimage import uniform_filter

    valid = np.isfinite(observed)[event.scored].ravel()
    observed = np.nan_to_num(observed)

    def scored(field: Array) -> Array:
        return field[event.scored].ravel()[valid]

    parts = [(np.sqrt(np.mean(scored(forecast - observed) ** 2)), 1.0)]
    for threshold in THRESHOLDS:
        predicted, seen = scored(forecast) >= threshold, scored(observed) >= threshold
        parts.append(((predicted != seen).sum(), (predicted | seen).sum()))
    size = [round(BOX / abs(step)) for step in event.spacing]
    predicted, seen = (
        scored(uniform_filter((field >= 1.0).astype(float), size, mode="constant")) for field in (forecast, observed)
    )
    parts.append((((predicted - seen) ** 2).sum(), (predicted**2 + seen**2).sum()))
    parts.extend(zip(octave_power(forecast[event.scored]), octave_power(observed[event.scored]), strict=True))
    return np.array(parts, dtype=float)


def octave_power(image: Array) -> Array:
    """Spectral power by octave of wavelength, 2.8 to 45 pixels."""
    taper = np.multiply.outer(*(np.hanning(n) for n in image.shape))
    power = np.abs(np.fft.fft2((image - image.mean()) * taper)) ** 2
    wavenumber = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n) for n in image.shape), indexing="ij"))
    bounds = [(1 / (2 * shortest), 1 / shortest) for shortest in OCTAVES[:-1]]
    return np.array([power[(low < wavenumber) & (wavenumber <= high)].sum() for low, high in bounds])


def pooled(parts: Array) -> Array:
    """Scores (..., lead, score) and power ratios of contributions (..., window, lead, part, 2)."""
    error, reference = np.moveaxis(parts.sum(axis=-4), -1, 0)
    with np.errstate(invalid="ignore"):
        ratio = error / reference
    ratio[..., 1 : len(SCORES)] = 1 - ratio[..., 1 : len(SCORES)]
    return np.asarray(ratio)


def run_event(event: Event, names: Sequence[str]) -> tuple[dict[str, Array], dict[str, float]]:
    """Contributions (window, lead, part, 2) and seconds per window, by forecaster."""
    rain = event.rain
    parts: dict[str, Array] = {}
    seconds: dict[str, float] = {}
    for name in names:
        rows, times = [], []
        FORECASTERS[name](event.window(event.starts[0]), event)  # imports, and what is kept from call to call
        for start in event.starts:
            begin = time.perf_counter()
            forecasts = FORECASTERS[name](event.window(start), event)
            times.append(time.perf_counter() - begin)
            now = start + FRAMES - 1
            rows.append(
                [
                    contribution(forecast, rain[now + step], event)
                    for forecast, step in zip(forecasts, event.steps.values(), strict=True)
                ]
            )
        parts[name], seconds[name] = np.array(rows), float(np.median(times))
    return parts, seconds


# ---- all events


@dataclass
class Comparison:
    """Scores of all forecasters in all events."""

    events: list[Event]
    parts: dict[str, dict[str, Array]]  # event, forecaster
    seconds: dict[str, dict[str, float]]

    def scores(self, event: str, name: str, windows: Array | None = None) -> Array:
        """(..., lead, score), the RMSE over that of persistence in the same windows."""
        own, last = self.parts[event][name], self.parts[event]["persistence"]
        if windows is not None:
            own, last = own[windows], last[windows]
        result = pooled(own)
        result[..., 0] /= pooled(last)[..., 0]
        return result

    @property
    def common(self) -> list[str]:
        """Names of the events that the mean is over: those with all lead times."""
        return [event.name for event in self.events if len(event.steps) == len(LEADS)]

    def mean(self, name: str) -> Array:
        """Mean over the events (lead, score)."""
        return np.mean([self.scores(event, name) for event in self.common], axis=0)

    def best(self, event: str | None = None) -> dict[tuple[int, int], str]:
        """The best peer by (lead, score), of an event or in the mean."""
        peers = {name: self.mean(name) if event is None else self.scores(event, name) for name in PEERS}
        leads = len(next(iter(peers.values())))
        return {
            (lead, score): (min if score == 0 else max)(PEERS, key=lambda name: peers[name][lead, score])
            for lead in range(leads)
            for score in range(len(SCORES))
        }

    def intervals(self) -> tuple[dict[str, Array], Array]:
        """95 % intervals of xvar minus the best peer, paired by window: by event, and of the mean (2, lead, score)."""
        random = np.random.default_rng(20180103)
        draws: dict[str, dict[str, Array]] = {}
        for event in self.events:
            windows = len(event.starts)
            if windows > 1:
                chosen = random.integers(0, windows, (DRAWS, windows))
                draws[event.name] = {name: self.scores(event.name, name, chosen) for name in FORECASTERS}

        def interval(drawn: dict[str, Array], best: dict[tuple[int, int], str]) -> Array:
            gains = np.full((2, len(LEADS), len(SCORES)), np.nan)
            for (lead, score), peer in best.items():
                gain = drawn["xvar"][:, lead, score] - drawn[peer][:, lead, score]
                gains[:, lead, score] = np.nanpercentile(gain, [2.5, 97.5])
            return gains

        by_event = {name: interval(drawn, self.best(name)) for name, drawn in draws.items()}
        over_events = {n: np.mean([draws[event][n] for event in self.common], axis=0) for n in FORECASTERS}
        return by_event, interval(over_events, self.best())


def compare(names: Sequence[str] = (*EVENTS, "meteonet-brest")) -> Comparison | None:
    """Run every forecaster on the events that there are; nothing where only the package's own sample is."""
    there = [name for name in names if name == "meteonet-brest" or (data_folder() / f"radar-{name}.nc").exists()]
    if len(there) < 2:
        return None
    events = [Event.load(name) for name in there]
    parts, seconds = {}, {}
    for event in events:
        parts[event.name], seconds[event.name] = run_event(event, tuple(FORECASTERS))
    return Comparison(events, parts, seconds)


def summary(comparison: Comparison) -> str:
    """Markdown: the mean over events, and the sharpness."""
    best, mine = comparison.best(), comparison.mean("xvar")
    _, interval = comparison.intervals()
    heading = (
        f"Mean over {', '.join(comparison.common)}: xvar / best peer of {len(PEERS)} in that score and lead "
        "(95 % interval of the difference, paired by window)."
    )
    lines = [
        heading,
        "",
        "| lead min | RMSE / persistence | CSI 0.5 mm/h | CSI 1 mm/h | CSI 5 mm/h | FSS 10 km |",
        "|---|---|---|---|---|---|",
    ]
    for row, lead in enumerate(LEADS):
        cells = []
        for score in range(len(SCORES)):
            peer = comparison.mean(best[row, score])[row, score]
            low, high = interval[:, row, score]
            cells.append(f"{mine[row, score]:.3f} / {peer:.3f} ({low:+.3f} to {high:+.3f})")
        lines.append(f"| {lead} | {' | '.join(cells)} |")
    octaves = [f"{low:.1f} to {2 * low:.1f}" for low in OCTAVES[:-1]]
    lines += ["", "Forecast over observed power by octave of wavelength in pixels:", ""]
    lines += [f"| lead min | {' | '.join(octaves)} |", "|---|" + "---|" * len(octaves)]
    for row, lead in enumerate(LEADS):
        carried = comparison.mean("Lucas-Kanade")[row, len(SCORES) :]
        pairs = zip(mine[row, len(SCORES) :], carried, strict=True)
        lines.append(f"| {lead} | " + " | ".join(f"{own:.2f} (Lucas-Kanade {peer:.2f})" for own, peer in pairs) + " |")
    return "\n".join(lines)


def details(comparison: Comparison) -> str:
    """Markdown: every event, lead and score, and the seconds per window."""
    by_event, _ = comparison.intervals()
    lines = ["| event | lead min | score | " + " | ".join(FORECASTERS) + " | xvar - best peer, 95 % |"]
    lines.append("|---|---|---|" + "---|" * (len(FORECASTERS) + 1))
    for event in comparison.events:
        scores = {name: comparison.scores(event.name, name) for name in FORECASTERS}
        for row, lead in enumerate(event.steps):
            for column, score in enumerate(SCORES):
                cells = " | ".join(f"{scores[name][row, column]:.3f}" for name in FORECASTERS)
                gain = "one window"
                if event.name in by_event:
                    low, high = by_event[event.name][:, row, column]
                    gain = f"{low:+.3f} to {high:+.3f}"
                label = "RMSE / persistence" if score == "rmse" else score.upper()
                lines.append(f"| {event.name} | {lead} | {label} | {cells} | {gain} |")
    lines += ["", "Seconds per window (median, one thread):", ""]
    lines += ["| event | grid | " + " | ".join(FORECASTERS) + " |", "|---|---|" + "---|" * len(FORECASTERS)]
    for event in comparison.events:
        grid = "x".join(map(str, event.rain.shape[1:]))
        cells = " | ".join(f"{comparison.seconds[event.name][name]:.2f}" for name in FORECASTERS)
        lines.append(f"| {event.name} | {grid} | {cells} |")
    return "\n".join(lines)


def behind(comparison: Comparison) -> str:
    """Markdown: where xvar is behind the best peer, or persistence, and where it is ahead by no more than chance."""
    by_event, _ = comparison.intervals()
    lines = ["| event | lead min | score | xvar | best peer | | 95 % |", "|---|---|---|---|---|---|---|"]
    undecided, cells = [], 0
    for event in comparison.events:
        mine, best = comparison.scores(event.name, "xvar"), comparison.best(event.name)
        for column, score in enumerate(SCORES):
            label = "RMSE / persistence" if score == "rmse" else score.upper()
            near = []
            for row, lead in enumerate(event.steps):
                cells += 1
                own, name = mine[row, column], best[row, column]
                peer = comparison.scores(event.name, name)[row, column]
                interval = by_event[event.name][:, row, column] if event.name in by_event else None
                told = "one window" if interval is None else f"{interval[0]:+.3f} to {interval[1]:+.3f}"
                if own > peer if score == "rmse" else own < peer:
                    lines.append(f"| {event.name} | {lead} | {label} | {own:.3f} | {peer:.3f} | {name} | {told} |")
                elif interval is not None and interval[0] <= 0 <= interval[1]:
                    near.append(str(lead))
            if near:
                undecided.append(f"{event.name} {label} at {', '.join(near)} min")
    text = f"Behind the best of {len(PEERS)} peers, in {len(lines) - 2} of {cells} scores:\n\n" + "\n".join(lines)
    return f"{text}\n\nAhead, but by less than windows differ: {'; '.join(undecided)}."


def as_json(comparison: Comparison) -> dict[str, Any]:
    """All scores as plain numbers."""
    labels = ("rmse_over_persistence", *SCORES[1:])

    def numbers(scores: Array, leads: Sequence[int]) -> Iterator[tuple[str, dict[str, float]]]:
        for column, label in enumerate(labels):
            yield label, {str(lead): round(float(scores[row, column]), 4) for row, lead in enumerate(leads)}
        for column, short in enumerate(OCTAVES[:-1], start=len(SCORES)):
            label = f"power {short:.1f} to {2 * short:.1f} pixels"
            yield label, {str(lead): round(float(scores[row, column]), 4) for row, lead in enumerate(leads)}

    return {
        "mean": {name: dict(numbers(comparison.mean(name), LEADS)) for name in FORECASTERS},
        "events": {
            event.name: {
                name: dict(numbers(comparison.scores(event.name, name), tuple(event.steps)))
                | {"seconds": round(comparison.seconds[event.name][name], 3)}
                for name in FORECASTERS
            }
            for event in comparison.events
        },
    }


def draw(comparison: Comparison, folder: Path) -> None:
    """Pictures: scores by lead time, and one forecast of each event."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    shown = (0, 2, 3, 4)
    figure, axes = pyplot.subplots(len(shown), len(comparison.common) + 1, figsize=(14, 12), layout="constrained")
    for column, event in enumerate([*comparison.common, None]):
        for row, score in enumerate(shown):
            for name in FORECASTERS:
                values = comparison.mean(name) if event is None else comparison.scores(event, name)
                own = {"color": "black", "linewidth": 2.5} if name == "xvar" else {"linewidth": 1}
                axes[row, column].plot(LEADS, values[:, score], label=name, **own)
            axes[row, column].set_title(event or "mean" if row == 0 else "")
        axes[-1, column].set_xlabel("lead time (min)")
    for row, score in enumerate(shown):
        axes[row, 0].set_ylabel("RMSE / persistence" if score == 0 else SCORES[score].upper())
    axes[0, 0].legend(fontsize="small")
    figure.savefig(folder / "nowcast-scores.png", dpi=80)
    pyplot.close(figure)

    columns = ("last frame", "observed", "Lucas-Kanade", "xvar")
    figure, axes = pyplot.subplots(len(comparison.events), 4, figsize=(14, 14), layout="constrained")
    for row, event in enumerate(comparison.events):
        start = event.starts[len(event.starts) // 2]
        window, lead = event.window(start), max(event.steps)
        rain = event.rain
        fields = [rain[start + FRAMES - 1], rain[start + FRAMES - 1 + event.steps[lead]]]
        fields += [FORECASTERS[name](window, event)[-1] for name in columns[2:]]
        for axis, field, title in zip(axes[row], fields, columns, strict=True):
            image = axis.imshow(np.where(field < 0.1, np.nan, field), norm="log", vmin=0.1, vmax=50, cmap="turbo")
            axis.set(xticks=[], yticks=[], title=f"{title}, {lead} min" if title != "last frame" else title)
        axes[row, 0].set_ylabel(event.name)
    figure.colorbar(image, ax=axes, shrink=0.5, label="mm/h")
    figure.savefig(folder / "nowcast-forecasts.png", dpi=80)
    pyplot.close(figure)
