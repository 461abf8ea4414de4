"""Ensembles of 20 members: xvar beside STEPS, on Lucas-Kanade's motion and on xvar's, and LINDA of pysteps.

Windows, scored pixels and leads are those of `benchmarks.nowcast`, over the pixels at which all ensembles have values.
CRPS, Brier scores, spread and ranks are pooled over the windows of an event; a ratio to STEPS is of the same windows,
and the mean is over events. xvar's ensembles have five seeds; intervals are those of a bootstrap over windows.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
import xarray as xr

from benchmarks.nowcast import (
    DRAWS,
    EVENTS,
    FLOWS,
    FRAMES,
    LEADS,
    OCTAVES,
    THRESHOLDS,
    Array,
    Event,
    data_folder,
    decibels,
    frames_of,
    octave_power,
)
from xvar.core.methods.nowcast_ensemble import NowcastEnsemble

MEMBERS, SEEDS = 20, 5
OWN, STEPS, CARRIED, LINDA = "xvar", "STEPS", "STEPS on the motion of xvar", "LINDA"
DRY = 0.1  # mm/h, less is no rain to pysteps
#: Other values of the numbers of `NowcastEnsemble` that were chosen on these events.
OTHERS: dict[str, tuple[Any, ...]] = {"optimism": (0.1, 0.4), "growth_share": (0.7, 1.1), "exponents": ((0.5, 2.0),)}


# ---- ensembles, rates (member, lead, y, x) in mm/h at all frames up to the longest lead


def own_ensemble(analysis: xr.Dataset, window: xr.Dataset, event: Event, **options: Any) -> Array:
    """Members of xvar, or one forecast."""
    forecast = analysis.var4d.forecast(f"{max(event.steps)}min", **options)[event.variable].isel(window=0)
    rates = forecast.sel(y=window["y"], x=window["x"]).transpose(..., "lead_time", "y", "x").values
    return np.asarray(rates * event.factor)


def pysteps_ensemble(method: str, frames: Array, displacement: Array, event: Event) -> Array:
    """Members of a method of pysteps on a motion in pixels a frame; NaN outside."""
    resolution: dict[str, Any] = {"kmperpixel": abs(event.spacing[1]) / 1e3, "timestep": event.seconds / 60}
    count = max(event.steps.values())
    with contextlib.redirect_stdout(io.StringIO()):
        from pysteps.nowcasts import linda, steps

        if method == LINDA:
            last = np.where(frames[-3:] < DRY, 0.0, frames[-3:])
            members = linda.forecast(
                last, displacement, count, n_ens_members=MEMBERS, seed=42, use_multiprocessing=False, **resolution
            )
            return np.asarray(members)
        last = decibels(frames[-3:])
        options = {"n_ens_members": MEMBERS, "precip_thr": -10.0, "seed": 42}
        members = steps.forecast(last, displacement, count, **options, **resolution)
    rates = np.where(members < -10.0, 0.0, 10 ** (members / 10))
    rates[~np.isfinite(members)] = np.nan
    return rates


# ---- sums over the pixels of a window


def crps(members: Array, observed: Array) -> tuple[Array, Array]:
    """CRPS and fair CRPS of each pixel, of members (member, pixel)."""
    count = len(members)
    error = np.abs(members - observed).mean(axis=0)
    weights = 2 * np.arange(count) - count + 1
    differences = np.tensordot(weights, np.sort(members, axis=0), 1)  # of all pairs
    return error - differences / count**2, error - differences / (count * (count - 1))


def ranks(members: Array, observed: Array) -> Array:
    """How often the observation has each rank; ties are shared, pixels where all are equal left out."""
    wet = (members != observed).any(axis=0)
    members, observed = members[:, wet], observed[wet]
    below, equal = (members < observed).sum(0), (members == observed).sum(0)
    share, size = 1 / (equal + 1), len(members) + 2
    starts, ends = (np.bincount(place, share, size) for place in (below, below + equal + 1))
    return np.cumsum(starts - ends)[:-1]


def sums(members: Array, observed: Array, sharp: Array, mean: Array) -> dict[str, Any]:
    """Sums over pixels of members (member, pixel); `sharp` and `mean` are the forecasts of xvar of these kinds."""
    plain, fair = crps(members, observed)
    return {
        "pixels": observed.size,
        "crps": plain.sum(),
        "fair": fair.sum(),
        "square": np.square(members.mean(0) - observed).sum(),
        "variance": members.var(0, ddof=1).sum(),
        "sharp": np.abs(sharp - observed).sum(),
        "mean": np.square(mean - observed).sum(),
        "ranks": ranks(members, observed),
        "brier": np.array([np.square((members >= t).mean(0) - (observed >= t)).sum() for t in THRESHOLDS]),
    }


def measure_window(event: Event, start: int, *, linda: bool) -> dict[str, Any]:
    """Sums by ensemble and lead, the last lead is the accumulation over all; and CPU seconds by ensemble."""
    window, rain = event.window(start), event.rain
    frames, lead = frames_of(window, event), f"{max(event.steps)}min"
    spent: dict[str, float] = {}

    def timed(name: str, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        begin = time.process_time()
        result = call(*arguments, **options)
        spent[name] = spent.get(name, 0.0) + time.process_time() - begin
        return result

    analysis = timed(OWN, window.var4d.assimilate)
    members = {OWN: timed(OWN, own_ensemble, analysis, window, event, members=MEMBERS, seed=0)}
    members |= {f"{OWN} {n}": own_ensemble(analysis, window, event, members=MEMBERS, seed=n) for n in range(1, SEEDS)}
    flow = timed(STEPS, FLOWS["Lucas-Kanade"], frames)
    members[STEPS] = timed(STEPS, pysteps_ensemble, STEPS, frames, flow, event)
    motion = timed(CARRIED, analysis.var4d.to_pysteps, lead=lead)
    members[CARRIED] = timed(CARRIED, pysteps_ensemble, CARRIED, frames, motion, event)
    if linda:
        members[LINDA] = timed(LINDA, pysteps_ensemble, LINDA, frames, flow, event)
    kinds = [own_ensemble(analysis, window, event, kind=kind) for kind in ("sharp", "mean")]
    kinds = [np.where(np.isfinite(one), one, frames[-1]) for one in kinds]
    now = start + FRAMES - 1
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in members}
    for chosen in (*([step] for step in event.steps.values()), range(1, max(event.steps.values()) + 1)):
        places = [step - 1 for step in chosen]
        observed = rain[[now + step for step in chosen]].mean(0)
        fields = {name: one[:, places].mean(1) for name, one in members.items()}
        valid = np.zeros(observed.shape, bool)
        valid[event.scored] = np.isfinite(observed[event.scored])
        valid &= np.all([np.isfinite(one).all(0) for one in fields.values()], axis=0)
        others = [one[places].mean(0)[valid] for one in kinds]
        before = octave_power(np.where(valid, observed, 0)[event.scored])
        for name, field in fields.items():
            row = sums(field[:, valid], observed[valid], *others)
            row["power"] = np.mean([octave_power(np.where(valid, one, 0)[event.scored]) for one in field], axis=0)
            found[name].append({**row, "observed power": before})
    return {"sums": found, "seconds": spent}


def measure(events: Sequence[str] = EVENTS) -> dict[str, Any]:
    """Sums by event and window (LINDA, which is slow, once an event), and constants by the other events."""
    there = [Event.load(name) for name in events if (data_folder() / f"radar-{name}.nc").exists()]
    windows = {
        event.name: [measure_window(event, start, linda=start == event.starts[0]) for start in event.starts]
        for event in there
    }
    return {"windows": windows, "held out": held_out(there)} if there else {}


# ---- scores


def scores(windows: Iterable[Mapping[str, Any]], name: str) -> dict[str, Array]:
    """Scores by lead, the last one of the accumulation, of an ensemble over windows."""
    rows = [window["sums"][name] for window in windows]
    total = {key: np.array([sum(row[lead][key] for row in rows) for lead in range(len(rows[0]))]) for key in rows[0][0]}
    count = total["pixels"]
    spread = np.sqrt((MEMBERS + 1) / MEMBERS * total["variance"] / count)
    rmse = np.sqrt(total["square"] / count)
    frequency = total["ranks"] / total["ranks"].sum(1, keepdims=True)
    return {
        "crps": total["crps"] / count,
        "fair": total["fair"] / count,
        "over sharp": total["crps"] / total["sharp"],
        "over mean": np.sqrt(total["square"] / total["mean"]),
        "spread": spread / rmse,
        "reliability": np.abs(frequency - 1 / (MEMBERS + 1)).sum(1),
        "brier": total["brier"] / count[:, None],
        "power": total["power"] / total["observed power"],
    }


def compared(windows: Sequence[Mapping[str, Any]], name: str) -> dict[str, Array]:
    """Scores of an ensemble, those that are over STEPS among them."""
    own, theirs = scores(windows, name), scores(windows, STEPS)
    over = {f"{key} over STEPS": own[key] / theirs[key] for key in ("crps", "fair")}
    with np.errstate(invalid="ignore", divide="ignore"):  # windows without an event
        skill = 1 - own["brier"] / theirs["brier"]
    return {**own, **over, **{f"brier {limit:g}": skill[:, n] for n, limit in enumerate(THRESHOLDS)}}


def over_events(windows: Mapping[str, Sequence[Any]], name: str) -> dict[str, Array]:
    """Mean of the scores over events."""
    by_event = [compared(part, name) for part in windows.values()]
    return {key: np.mean([one[key] for one in by_event], axis=0) for key in by_event[0]}


def intervals(windows: Mapping[str, Sequence[Any]], name: str, draws: int = DRAWS // 10) -> dict[str, Array]:
    """95 % intervals (2, lead) of the mean over events, of windows drawn with replacement."""
    random = np.random.default_rng(20180103)
    drawn = []
    for _ in range(draws):
        chosen = {event: [part[n] for n in random.integers(0, len(part), len(part))] for event, part in windows.items()}
        drawn.append(over_events(chosen, name))
    return {key: np.nanpercentile([_finite(one[key]) for one in drawn], [2.5, 97.5], axis=0) for key in drawn[0]}


def _finite(values: Array) -> Array:
    return np.where(np.isfinite(values), values, np.nan)


def held_out(events: Sequence[Event], members: int = MEMBERS) -> list[dict[str, Any]]:
    """For each event the change of one number with the least CRPS on the others, and CRPS over the defaults.

    The second and the fifth window of each event, mean over leads; of the others, and of the event itself.
    """
    variants = [{}, *({key: value} for key, values in OTHERS.items() for value in values)]
    errors = np.array([variant_errors(event, variants, members) for event in events])  # event, variant
    ratios = errors / errors[:, :1]
    rows = []
    for index, event in enumerate(events):
        others = np.delete(ratios, index, axis=0).mean(axis=0)
        best = int(others.argmin())
        ((name, value),) = variants[best].items() or (("defaults", ""),)
        change = f"{name} {value}".strip()
        rows.append(
            {"event": event.name, "change": change, "others": float(others[best]), "here": float(ratios[index, best])}
        )
    labels = [" ".join(f"{key} {value}" for key, value in one.items()) or "defaults" for one in variants]
    rows.append({"all": dict(zip(labels, ratios.mean(axis=0).tolist(), strict=True))})
    return rows


def variant_errors(event: Event, variants: Sequence[Mapping[str, Any]], members: int) -> Array:
    """Sum over leads and two windows of the mean CRPS of each variant."""
    result = np.zeros(len(variants))
    for start in event.starts[1::3]:
        window = event.window(start)
        analysis = window.var4d.assimilate()
        for index, variant in enumerate(variants):
            with patch("xvar.core.methods.nowcast_ensemble.NowcastEnsemble", partial(NowcastEnsemble, **variant)):
                rates = own_ensemble(analysis, window, event, members=members, seed=0)
            for step in event.steps.values():
                observed = event.rain[start + FRAMES - 1 + step][event.scored]
                forecast = rates[:, step - 1, event.scored[0], event.scored[1]]
                valid = np.isfinite(observed) & np.isfinite(forecast).all(0)
                result[index] += crps(forecast[:, valid], observed[valid])[0].mean()
    return result


# ---- tables


def table(results: Mapping[str, Any]) -> str:
    """Markdown: each event and ensemble by lead; means with their intervals; seeds; constants of the other events."""
    windows = results["windows"]
    known = [OWN, STEPS, CARRIED]
    labels = [*(f"{lead} min" for lead in LEADS), f"0 to {max(LEADS)} min"]
    count = ", ".join(f"{name} {len(part)}" for name, part in windows.items())
    text = [f"{MEMBERS} members, one seed if not stated otherwise; the last column is the mean rate over the lead."]
    text.append(f"Windows: {count}. Mean over events:")
    heading = f"| score | ensemble | {' | '.join(labels)} |\n|---|---|" + "---|" * len(labels)
    means = {name: over_events(windows, name) for name in known}
    own_interval = intervals(windows, OWN)
    seeds = [over_events(windows, name) for name in (OWN, *(f"{OWN} {n}" for n in range(1, SEEDS)))]
    lines = [heading]
    for key, label in ROWS.items():
        for name in known if key not in ("over sharp", "over mean") else known[:1]:
            if name == STEPS and ("STEPS" in key or key.startswith("brier")):
                continue
            lines.append(f"| {label} | {name} | {' | '.join(f'{value:.3f}' for value in means[name][key])} |")
        low, high = own_interval[key]
        bounds = (f"{one:.3f} to {two:.3f}" for one, two in zip(low, high, strict=True))
        lines.append(f"| | xvar, 95 % over windows | {' | '.join(bounds)} |")
        by_seed = np.array([one[key] for one in seeds])
        ranges = (f"{one:.3f} to {two:.3f}" for one, two in zip(by_seed.min(0), by_seed.max(0), strict=True))
        lines.append(f"| | xvar, {SEEDS} seeds | {' | '.join(ranges)} |")
    text.append("\n".join(lines))
    octaves = " | ".join(f"{low:.1f} to {2 * low:.1f}" for low in OCTAVES[:-1])
    lines = [f"| lead min | ensemble | {octaves} |", "|---|---|" + "---|" * (len(OCTAVES) - 1)]
    for lead, name in itertools.product((10, 30), known):
        ratios = means[name]["power"][LEADS.index(lead)]
        lines.append(f"| {lead} | {name} | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} |")
    text += ["Power of members over observed, by octave of wavelength in pixels:", "\n".join(lines)]
    lines = [heading.replace("| score | ensemble |", "| event | score |")]
    for event, part in windows.items():
        found = compared(part, OWN)
        carried = compared(part, CARRIED)
        for key, label in ROWS.items():
            lines.append(f"| {event} | {label} | {' | '.join(f'{value:.3f}' for value in found[key])} |")
        values = " | ".join(f"{value:.3f}" for value in carried["crps over STEPS"])
        lines.append(f"| {event} | {ROWS['crps over STEPS']}, of {CARRIED} | {values} |")
    text += ["xvar in each event:", "\n".join(lines), _seconds(windows), _linda(windows), _held_out(results)]
    return "\n\n".join(filter(None, text))


ROWS = {
    "crps": "CRPS mm/h",
    "fair": "fair CRPS mm/h",
    "crps over STEPS": "CRPS over STEPS",
    "fair over STEPS": "fair CRPS over STEPS",
    "over sharp": "CRPS over MAE of the sharp forecast",
    "over mean": "RMSE of the ensemble mean over kind mean",
    "spread": "spread over error",
    "reliability": "reliability index",
    **{f"brier {limit:g}": f"Brier skill over STEPS, {limit:g} mm/h" for limit in THRESHOLDS},
}


def _seconds(windows: Mapping[str, Sequence[Any]]) -> str:
    """CPU seconds a window: the median of each event, motion included."""
    lines = [f"| event | {OWN} | {STEPS} | {CARRIED} |", "|---|---|---|---|"]
    for event, part in windows.items():
        medians = [float(np.median([one["seconds"][name] for one in part])) for name in (OWN, STEPS, CARRIED)]
        lines.append(f"| {event} | {' | '.join(f'{value:.1f}' for value in medians)} |")
    return "CPU seconds of a window, motion or analysis included:\n\n" + "\n".join(lines)


def _linda(windows: Mapping[str, Sequence[Any]]) -> str:
    """LINDA in the windows that it has."""
    labels = " | ".join((*(f"{lead} min" for lead in LEADS), f"0 to {max(LEADS)} min"))
    lines = [f"| event | ensemble | CPU seconds | {labels} |", "|---|---|---|" + "---|" * (len(LEADS) + 1)]
    for event, part in windows.items():
        chosen = [one for one in part if LINDA in one["sums"]]
        for name in (LINDA, OWN) if chosen else ():
            seconds = np.mean([one["seconds"][name] for one in chosen])
            ratios = " | ".join(f"{ratio:.3f}" for ratio in compared(chosen, name)["crps over STEPS"])
            lines.append(f"| {event} | {name} | {seconds:.0f} | {ratios} |")
    return "LINDA beside xvar in the first window of events, CRPS over STEPS:\n\n" + "\n".join(lines)


def _held_out(results: Mapping[str, Any]) -> str:
    """Constants chosen on the other events."""
    *rows, whole = results["held out"]
    lines = ["| event | best change on the others | CRPS over the defaults, others | here |", "|---|---|---|---|"]
    lines += [f"| {row['event']} | {row['change']} | {row['others']:.4f} | {row['here']:.4f} |" for row in rows]
    changes = ", ".join(f"{label} {ratio:.4f}" for label, ratio in whole["all"].items())
    text = "One number changed at a time, chosen by CRPS on the other events and judged on the third:\n\n"
    return text + "\n".join(lines) + f"\n\nCRPS over the defaults, mean over events: {changes}."


def as_json(results: Mapping[str, Any]) -> dict[str, Any]:
    """Scores by ensemble, of each event and in the mean, as plain numbers by lead."""
    windows = results["windows"]

    def plain(found: Mapping[str, Array]) -> dict[str, Any]:
        return {key: np.round(value, 4).tolist() for key, value in found.items()}

    names = (OWN, STEPS, CARRIED)
    return {
        "mean": {name: plain(over_events(windows, name)) for name in names},
        "intervals": plain(intervals(windows, OWN)),
        "events": {event: {name: plain(compared(part, name)) for name in names} for event, part in windows.items()},
        "held out": results["held out"],
    }
