"""What each part of xvar's nowcasts is worth, and how far the result hangs on the numbers that were chosen.

Each variant changes one thing of the defaults; all are run on the windows of `benchmarks.nowcast` in one batch an
event, by the same code that `assimilate()` and `forecast()` call, on the spacing as it is stored. Differences to the
defaults are paired by window.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from benchmarks.nowcast import (
    DRAWS,
    EVENTS,
    FRAMES,
    LEADS,
    OCTAVES,
    SCORES,
    Array,
    Event,
    contribution,
    data_folder,
    persistence,
    pooled,
)
from xvar.core.grid import Grid
from xvar.core.methods.image_motion import ImageMotion
from xvar.core.methods.nowcast import Nowcast
from xvar.plan.bridge import to_tensor
from xvar.plan.configuration import DEFAULTS, Configuration
from xvar.plan.images import core_method

CONFIGURATION = Configuration(
    variable="rain",
    kind="rain",
    method="image_motion",
    frame=300.0,
    transform=DEFAULTS["rain"].transform,
    transient=dict(DEFAULTS["rain"].transient or {}),
)
NUMBERS = (
    "steady.gradient",
    "steady.curvature",
    "error",
    "threshold",
    "truncation",
    "transient.smoothness.gradient",
    "transient.smoothness.curvature",
    "transient.lifetime",
    "transient.source_std",
    "transient.source_length",
    "transient.source_lifetime",
)


@dataclass(frozen=True)
class Variant:
    """Nowcasts that differ from the defaults in one thing.

    Attributes
    ----------
    motion, nowcast
        The analysis and the forecast.
    frames : int
        How many of the last frames it sees.
    keep : {"fading", "frozen", "steady"}
        The motion of the forecast: its transient part fades; stays as it is; is left out.
    """

    motion: ImageMotion
    nowcast: Nowcast
    frames: int = FRAMES
    keep: str = "fading"


def default() -> Variant:
    """What xvar does when nobody asks for anything else."""
    return Variant(core_method(CONFIGURATION), CONFIGURATION.nowcast())  # type: ignore[arg-type]


def ablations() -> dict[str, Variant]:
    """The defaults, and each part of them left out."""
    whole = default()
    motion, nowcast = whole.motion, whole.nowcast
    transient = motion.transient
    assert transient is not None
    no_source = replace(motion, transient=replace(transient, source_std=1e-4))
    return {
        "defaults": whole,
        "forecast without growth": replace(whole, nowcast=replace(nowcast, source=None)),
        "forecast without the limit of the power": replace(whole, nowcast=replace(nowcast, sharpness=None)),
        "forecast without restored short waves": replace(whole, nowcast=replace(nowcast, restored=None)),
        "forecast without the transient motion": replace(
            whole, nowcast=replace(nowcast, transient=None), keep="steady"
        ),
        "forecast whose transient motion does not fade": replace(
            whole, nowcast=replace(nowcast, transient=None), keep="frozen"
        ),
        "forecast without fading of the steady motion": replace(whole, nowcast=replace(nowcast, skills=None)),
        "forecast with none of the three": replace(
            whole, nowcast=replace(nowcast, transient=None, source=None), keep="steady"
        ),
        "analysis without a source": replace(whole, motion=no_source, nowcast=replace(nowcast, source=None)),
        "analysis without frames T-2 and T-3": replace(whole, frames=2),
        "quadratic norm": replace(whole, motion=replace(motion, threshold=1e6)),
        "rain as it is, not its root": replace(
            whole, motion=replace(motion, transform="none"), nowcast=replace(nowcast, transform="none")
        ),
    }


def changed(variant: Variant, path: str, factor: float) -> Variant:
    """A variant with one number of its analysis, and the same number of its forecast, times a factor."""

    def scaled(part: Any, names: Sequence[str]) -> Any:
        value = getattr(part, names[0])
        return replace(part, **{names[0]: value * factor if len(names) == 1 else scaled(value, names[1:])})

    nowcast = variant.nowcast
    if path == "transient.lifetime":
        nowcast = scaled(nowcast, ("transient",))
    elif path == "transient.source_lifetime":
        nowcast = scaled(nowcast, ("source",))
    return replace(variant, motion=scaled(variant.motion, path.split(".")), nowcast=nowcast)


def sensitivities() -> dict[str, Variant]:
    """The defaults with one number halved or doubled."""
    whole = default()
    numbers = {
        f"{path} x {factor:g}": changed(whole, path, factor)
        for path in NUMBERS
        for factor in (0.5, 2.0)
        if not (path == "truncation" and factor > 1)  # of all wavenumbers
    }
    for sharpness in (0.9, 1.15):
        numbers[f"sharpness {sharpness:g}"] = replace(whole, nowcast=replace(whole.nowcast, sharpness=sharpness))
    for factor in (0.0, 2.0):
        fading = whole.nowcast.fading * factor
        numbers[f"fading x {factor:g}"] = replace(whole, nowcast=replace(whole.nowcast, fading=fading))
    return {"defaults": whole, **numbers}


# ---- nowcasts


@dataclass
class Windows:
    """The windows of an event as tensors, and what has been analysed in them."""

    event: Event
    starts: Sequence[int]
    analysed: dict[tuple[ImageMotion, int], dict[str, torch.Tensor]] = field(default_factory=dict)

    def analyse(self, motion: ImageMotion, frames: int) -> dict[str, torch.Tensor]:
        """The analysis of all windows, once for each motion."""
        key = (motion, frames)
        if key not in self.analysed:
            rows = slice(None, None, -1) if self.event.spacing[0] < 0 else slice(None)
            windows = [
                self.event.window(start)[self.event.variable].transpose("time", "y", "x") for start in self.starts
            ]
            stack = np.stack([window.values[FRAMES - frames :, rows] for window in windows])
            seconds = [index * self.event.seconds for index in range(frames)]
            frames_of_windows = to_tensor(stack, dtype="float32", device=None)
            self.analysed[key] = motion.analyse(frames_of_windows, seconds, self.grid)
        return self.analysed[key]

    @property
    def grid(self) -> Grid:
        """Of the event, rows northward."""
        shape = self.event.rain.shape[1:]
        return Grid((shape[0], shape[1]), (abs(self.event.spacing[0]), abs(self.event.spacing[1])))

    def forecast(self, variant: Variant) -> Array:
        """Rates (window, lead, y, x) in mm/h, in the order of the event."""
        found = self.analyse(variant.motion, variant.frames)
        velocity = torch.stack([found["u"][:, -1], found["v"][:, -1]], dim=1)
        if "growth" in found:
            fading = torch.stack([found["u_transient"], found["v_transient"]], dim=1)
            growth = found["growth"][:, None]
        else:
            fading, growth = torch.zeros_like(velocity), torch.zeros_like(velocity[:, :1])
        if variant.keep == "steady":
            velocity = velocity - fading
        last = found["observed"][:, None]
        last = torch.where(last.isfinite(), last, found["analysis"][:, -1:])
        leads = [step * self.event.seconds for step in self.event.steps.values()]
        result = variant.nowcast.extrapolate(
            last,
            velocity,
            fading,
            growth,
            found["image_scale"],
            leads,
            self.event.seconds,
            self.grid,
            found["motion_skill"],
        )
        rates = torch.where(result.forecast.isfinite(), result.forecast, torch.nan_to_num(last))
        rows = -1 if self.event.spacing[0] < 0 else 1
        return rates.numpy()[:, :, ::rows] * self.event.factor

    def contributions(self, forecasts: Array) -> Array:
        """(window, lead, part, 2), see `benchmarks.nowcast.contribution`."""
        rain, steps = self.event.rain, self.event.steps.values()
        return np.array(
            [
                [
                    contribution(one, rain[start + FRAMES - 1 + step], self.event)
                    for one, step in zip(own, steps, strict=True)
                ]
                for start, own in zip(self.starts, forecasts, strict=True)
            ]
        )

    def persistence(self) -> Array:
        """Those of the last frames."""
        return self.contributions(
            np.stack([persistence(self.event.window(start), self.event) for start in self.starts])
        )


@dataclass
class Ablation:
    """Contributions (window, lead, part, 2) by event and variant."""

    parts: dict[str, dict[str, Array]]

    def scores(self, name: str, windows: Mapping[str, Array] | None = None) -> Array:
        """Mean over the events (..., lead, score and power), the RMSE over that of persistence."""
        found = []
        for event, parts in self.parts.items():
            chosen = slice(None) if windows is None else windows[event]
            result = pooled(parts[name][chosen])
            result[..., 0] /= pooled(parts["persistence"][chosen])[..., 0]
            found.append(result)
        return np.mean(found, axis=0)

    def intervals(self, name: str) -> Array:
        """95 % intervals (2, lead, score) of the variant less the defaults, paired by window."""
        random = np.random.default_rng(20180103)
        chosen = {
            event: random.integers(0, len(parts["defaults"]), (DRAWS, len(parts["defaults"])))
            for event, parts in self.parts.items()
        }
        difference = self.scores(name, chosen) - self.scores("defaults", chosen)
        return np.asarray(np.nanpercentile(difference, [2.5, 97.5], axis=0))

    @property
    def names(self) -> Iterator[str]:
        """Of the variants."""
        return (name for name in next(iter(self.parts.values())) if name != "persistence")


def run(variants: Mapping[str, Variant], events: Sequence[str] = EVENTS, every: int = 1) -> Ablation | None:
    """Run variants on the events that there are, on each `every`-th window; nothing where there are none."""
    parts: dict[str, dict[str, Array]] = {}
    for name in events:
        if not (data_folder() / f"radar-{name}.nc").exists():
            continue
        event = Event.load(name)
        windows = Windows(event, event.starts[::every])
        parts[name] = {"persistence": windows.persistence()}
        for label, variant in variants.items():
            parts[name][label] = windows.contributions(windows.forecast(variant))
    return Ablation(parts) if parts else None


# ---- tables


def table(ablation: Ablation, score: int = 0) -> str:
    """Markdown: a score of each variant by lead, with the interval of its difference to the defaults."""
    title = "RMSE / persistence" if score == 0 else SCORES[score].upper()
    lines = [f"| {title} | " + " | ".join(f"{lead} min" for lead in LEADS) + " |", "|---|" + "---|" * len(LEADS)]
    for name in ablation.names:
        values = ablation.scores(name)[:, score]
        cells = [f"{value:.3f}" for value in values]
        if name != "defaults":
            low, high = ablation.intervals(name)[..., score]
            cells = [f"{c} ({a:+.3f} to {b:+.3f})" for c, a, b in zip(cells, low, high, strict=True)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def leave_one_out(numbers: Ablation) -> str:
    """Markdown: the one change that two events would have chosen, and what it is worth on the third.

    Judged by the RMSE over that of persistence, its mean over leads. The power that is left to the forecast is not to
    be chosen by it, for blur lowers it.
    """
    candidates = [name for name in numbers.names if not name.startswith(("sharpness", "fading"))]
    means = {
        event: {
            name: float(np.mean(pooled(parts[name])[:, 0] / pooled(parts["persistence"])[:, 0])) for name in candidates
        }
        for event, parts in numbers.parts.items()
    }
    lines = ["| event left out | chosen by the others | on the others | on the event |", "|---|---|---|---|"]
    for event, own in means.items():
        others = [found for name, found in means.items() if name != event]
        gains = {name: float(np.mean([o[name] - o["defaults"] for o in others])) for name in candidates}
        chosen = min(candidates, key=lambda name: gains[name])
        lines.append(f"| {event} | {chosen} | {gains[chosen]:+.4f} | {own[chosen] - own['defaults']:+.4f} |")
    return "\n".join(lines)


def sharpness(ablation: Ablation, names: Sequence[str]) -> str:
    """Markdown: forecast over observed power at the first and the last lead, by octave."""
    octaves = [f"{low:.1f} to {2 * low:.1f}" for low in OCTAVES[:-1]]
    lines = ["| power, 5 / 30 min, by pixels | " + " | ".join(octaves) + " |", "|---|" + "---|" * len(octaves)]
    for name in names:
        power = ablation.scores(name)[:, len(SCORES) :]
        cells = " | ".join(f"{first:.2f} / {last:.2f}" for first, last in zip(power[0], power[-1], strict=True))
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines)


def summary(parts: Ablation, numbers: Ablation) -> str:
    """All tables."""
    left_out = ("growth", "the limit of the power", "restored short waves")
    chosen = ["defaults", *(f"forecast without {part}" for part in left_out)]
    heading = (
        f"Each part left out; mean over {', '.join(parts.parts)} "
        "(95 % interval of the difference to the defaults, paired by window)."
    )
    return "\n\n".join(
        [
            heading,
            table(parts),
            table(parts, SCORES.index("csi 1")),
            table(parts, SCORES.index("csi 5")),
            sharpness(parts, chosen),
            f"Each number halved or doubled; mean over every second window of {', '.join(numbers.parts)}.",
            table(numbers),
            "The one of these changes that all events but one would have chosen; RMSE / persistence, mean over leads.",
            leave_one_out(numbers),
        ]
    )
