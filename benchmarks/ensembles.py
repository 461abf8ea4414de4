"""Ensembles of xvar, and of STEPS on Lucas-Kanade's motion and on xvar's: the continuous ranked probability score.

Windows, scored pixels and leads are those of `benchmarks.nowcast`; STEPS has the same noise on every motion. The score
is that of fair ensembles, by the `scores` library, in mm/h, over the pixels at which all ensembles have values.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import xarray as xr

from benchmarks.nowcast import DRAWS, EVENTS, FLOWS, FRAMES, LEADS, Array, Event, data_folder, decibels, frames_of
from benchmarks.nowcast import xvar_forecast as deterministic

MEMBERS, SEED = 20, 42
OWN = "members of xvar"
THRESHOLD = -10.0  # dB, of rain


def ensemble(frames: Array, displacement: Array, event: Event) -> Array:
    """Rates (member, lead, y, x) in mm/h of STEPS on a motion in pixels a frame; NaN outside."""
    with contextlib.redirect_stdout(io.StringIO()):
        from pysteps.nowcasts import steps

        members = steps.forecast(
            decibels(frames[-3:]),
            displacement,
            max(event.steps.values()),
            n_ens_members=MEMBERS,
            precip_thr=THRESHOLD,
            kmperpixel=abs(event.spacing[1]) / 1e3,
            timestep=event.seconds / 60,
            seed=SEED,
        )
    rates = np.where(members < THRESHOLD, 0.0, 10 ** (members / 10))
    rates[~np.isfinite(members)] = np.nan
    return rates[:, [step - 1 for step in event.steps.values()]]


def own_ensemble(analysis: xr.Dataset, window: xr.Dataset, event: Event) -> Array:
    """Rates (member, lead, y, x) in mm/h of the ensemble of xvar."""
    forecast = analysis.var4d.forecast(f"{max(event.steps)}min", members=MEMBERS, seed=SEED)[event.variable]
    leads = [np.timedelta64(lead * 60, "s").astype("m8[ns]") for lead in event.steps]
    taken = forecast.isel(window=0).sel(lead_time=leads, y=window["y"], x=window["x"])
    return np.asarray(taken.transpose("member", "lead_time", "y", "x").values * event.factor)


def score(members: Array, observed: Array, valid: Array) -> float:
    """Mean CRPS over the valid pixels, of members (member, y, x)."""
    from scores.probability import crps_for_ensemble

    forecast = xr.DataArray(members[:, valid], dims=("member", "pixel"))
    truth = xr.DataArray(observed[valid], dims="pixel")
    return float(crps_for_ensemble(forecast, truth, "member", method="fair"))


def measure_window(event: Event, start: int) -> dict[str, list[float]]:
    """By motion and lead, and the mean absolute error of xvar's own forecast on the same pixels."""
    window, rain = event.window(start), event.rain
    frames = frames_of(window, event)
    analysis = window.var4d.assimilate()
    motions = {
        "Lucas-Kanade": FLOWS["Lucas-Kanade"](frames),
        "xvar": analysis.var4d.to_pysteps(lead=f"{max(event.steps)}min"),
        "xvar at the last image": analysis.var4d.to_pysteps(part="total"),
    }
    members = {name: ensemble(frames, displacement, event) for name, displacement in motions.items()}
    members[OWN] = own_ensemble(analysis, window, event)
    own = deterministic(window, event)
    found: dict[str, list[float]] = {name: [] for name in (*members, "one forecast of xvar, no ensemble")}
    for index, step in enumerate(event.steps.values()):
        observed = rain[start + FRAMES - 1 + step]
        valid = np.zeros(observed.shape, bool)
        valid[event.scored] = True
        valid &= np.isfinite(observed)
        for one in members.values():
            valid &= np.isfinite(one[:, index]).all(0)
        for name, one in members.items():
            found[name].append(score(one[:, index], observed, valid))
        found["one forecast of xvar, no ensemble"].append(float(np.abs(own[index] - observed)[valid].mean()))
    return found


def measure(events: Sequence[str] = EVENTS, every: int = 2) -> dict[str, dict[str, list[list[float]]]]:
    """By event and motion: window, lead."""
    results: dict[str, dict[str, list[list[float]]]] = {}
    for name in events:
        if not (data_folder() / f"radar-{name}.nc").exists():
            continue
        event = Event.load(name)
        for start in event.starts[::every]:
            for method, values in measure_window(event, start).items():
                results.setdefault(name, {}).setdefault(method, []).append(values)
    return results


def table(results: Mapping[str, Mapping[str, Sequence[Sequence[float]]]]) -> str:
    """Markdown: CRPS by event and lead, and the difference of the motions with its interval, paired by window."""
    lines = ["| event | ensemble | " + " | ".join(f"{lead} min" for lead in LEADS) + " |"]
    lines.append("|---|---|" + "---|" * len(LEADS))
    for event, by_method in results.items():
        for method, values in by_method.items():
            label = method if method.startswith(("one", OWN)) else f"STEPS on the motion of {method}"
            lines.append(f"| {event} | {label} | " + " | ".join(f"{v:.4f}" for v in np.mean(values, axis=0)) + " |")
    for motion in (OWN, "xvar", "xvar at the last image"):
        cells = (f"{mean:+.1%} ({low:+.1%} to {high:+.1%})" for mean, low, high in gains(results, motion))
        label = OWN if motion == OWN else f"STEPS on the motion of {motion}"
        lines.append(f"| mean | {label} against STEPS on Lucas-Kanade's | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def gains(
    results: Mapping[str, Mapping[str, Sequence[Sequence[float]]]], motion: str
) -> Iterator[tuple[float, float, float]]:
    """CRPS on a motion over that on Lucas-Kanade's, less one, mean over events, and its 95 % interval; by lead."""
    random, means, draws = np.random.default_rng(20180103), [], []
    for by_method in results.values():
        ours, theirs = (np.array(by_method[name]) for name in (motion, "Lucas-Kanade"))
        chosen = random.integers(0, len(ours), (DRAWS, len(ours)))
        means.append(ours.mean(0) / theirs.mean(0) - 1)
        draws.append(ours[chosen].mean(1) / theirs[chosen].mean(1) - 1)
    low, high = np.percentile(np.mean(draws, axis=0), [2.5, 97.5], axis=0)
    return zip(np.mean(means, axis=0), low, high, strict=True)
