"""Learned parts of a model: the closure of Lorenz-96 that a model lacks, and currents of a real sea.

**Lorenz-96.** The truth has strong forcing and Wilks's (2005) polynomial for the effect of fast scales; the model lacks
the polynomial. All 40 variables are observed every 0.05 with an error of 1. A network of 16 channels is trained on
windows of nine frames, weak constraint, and judged on a new record: root mean square errors of the analyses at the end
of windows and of forecasts over 0.4, from the analyses of each model itself and from the true states.

**Currents.** Hourly surface currents of NorKyst-800 off Norway, averaged over 6.4 km. The model continues the trend of
each point; a network of 20 weights, the same at every point, corrects currents and trends. It is trained on the first
41 hours and judged on the last 27: forecasts from windows of five frames, beside persistence of the last frame.
Intervals are those of a bootstrap of blocks of five windows.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr

import xvar
from xvar.core.dynamics import trajectory
from xvar.covariance import Diagonal
from xvar.dynamics import Corrected, Lorenz96
from xvar.minimize import LBFGS
from xvar.observation import Images

DATA = Path(os.environ.get("XVAR_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
CURRENTS = DATA / "currents-norkyst800-20151116.nc"
SEEDS, VARIABLES, STEP, LEAD = (0, 1), 40, 0.05, 0.4
TRAINING, JUDGED = 1601, 801  # frames
BLOCK, DRAWS = 5, 2000
ERROR = 0.02  # m s-1, of the currents

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Truth(Lorenz96):
    """Lorenz-96 with the closure that the model lacks."""

    forcing: float = 20.0

    def tendency(self, x: torch.Tensor) -> torch.Tensor:
        """Return the rate of change."""
        return super().tendency(x) - (0.341 + 1.30 * x - 0.0136 * x**2 - 0.00235 * x**3)


def twin(frames: int, seed: int) -> tuple[xr.Dataset, xr.Dataset]:
    """The truth, and observations of it."""
    generator = torch.Generator().manual_seed(seed)
    first = {"x": 8 + torch.randn(1, 1, VARIABLES, generator=generator, dtype=torch.float64)}
    states = trajectory(Truth(), first, [STEP] * (400 + frames))[-frames:]
    values = torch.stack([state["x"][0, 0] for state in states])
    noisy = values + torch.randn(values.shape, generator=generator, dtype=torch.float64)
    times = pd.Timestamp("2000-01-01") + pd.to_timedelta(STEP * np.arange(frames), unit="s")
    coordinates = {"time": times, "ring": np.arange(VARIABLES, dtype=float)}
    truth, observed = (xr.Dataset({"x": (("time", "ring"), part.numpy())}, coordinates) for part in (values, noisy))
    return truth, observed


def lorenz(seed: int) -> dict[str, Any]:
    """Errors without and with the network, and with the true model, for one seed of everything."""
    _, observed = twin(TRAINING, 10 + seed)
    truth, new = twin(JUDGED, 20 + seed)
    options: dict[str, Any] = {
        "window": 9,
        "constraint": "weak",
        "background_error": Diagonal(1.0),
        "model_error": Diagonal(1.0),
        "observation_error": 1.0,
        "minimizer": LBFGS(max_evaluations=20, ftol=1e-5),
    }
    torch.manual_seed(seed)
    convolution = partial(torch.nn.Conv1d, padding="same", padding_mode="circular")
    layers = convolution(1, 16, 5), torch.nn.Tanh(), convolution(16, 16, 1), torch.nn.Tanh(), convolution(16, 1, 1)
    model: torch.nn.Module = Corrected(Lorenz96(forcing=20.0), torch.nn.Sequential(*layers), scale=10.0)
    begin = time.perf_counter()
    for rate, rounds in ((1e-2, 15), (1e-3, 10)):
        adam = partial(torch.optim.Adam, lr=rate)
        learned = xvar.learn(
            observed, dynamics=model, optimizer=adam, rounds=rounds, minibatch=25, seed=seed, **options
        )
        model = learned.dynamics
    seconds = time.perf_counter() - begin
    models = {"without": Lorenz96(forcing=20.0), "learned": model, "perfect": Truth()}
    found: dict[str, Any] = {name: _lorenz_errors(one, truth, new, options) for name, one in models.items()}
    return {**found, "seconds": seconds}


def _lorenz_errors(dynamics: Any, truth: xr.Dataset, new: xr.Dataset, options: Mapping[str, Any]) -> dict[str, float]:
    """Root mean square errors of analyses at the end of windows, and of forecasts from them and from true states."""
    analysis = new.var4d.assimilate(dynamics=dynamics, **options)
    last = analysis.var4d.forecast(f"{LEAD * 1e3:g}ms", dynamics=dynamics)["x"].isel(lead_time=-1)
    last = last.isel(window=last["time"].values <= truth["time"].values[-1])
    exact = truth["x"].sel(time=last["forecast_reference_time"].values).values
    states = trajectory(dynamics, {"x": torch.tensor(exact)[:, None]}, [STEP] * round(LEAD / STEP))
    then = truth["x"].sel(time=last["time"].values).values
    now = analysis["x"].isel(step=-1)
    return {
        "analysis": _rms(now.values - truth["x"].sel(time=now["time"].values).values),
        "forecast": _rms(last.values - then),
        "from exact states": _rms(states[-1]["x"][:, 0].numpy() - then),
    }


def _rms(departures: Array) -> float:
    return float(np.sqrt(np.mean(departures**2)))


class Trend:
    """Currents that continue their trend, in m s-1 per hour."""

    components = {"current": ("u", "v"), "trend": ("du", "dv")}  # noqa: RUF012
    step = 3600.0

    def __call__(self, state: Mapping[str, torch.Tensor], seconds: float) -> dict[str, torch.Tensor]:
        """Advance the state."""
        moved = state["current"] + state["trend"] * (seconds / 3600)
        return {"current": moved, "trend": state["trend"] + 0.0}


def currents() -> dict[str, Any] | None:
    """Mean squared errors (window, lead) of forecasts; None without the data."""
    if not CURRENTS.exists():
        return None
    fine = xr.open_dataset(CURRENTS)[["u", "v"]].drop_vars("depth", errors="ignore").load()
    hourly = fine.coarsen(X=8, Y=8).mean(keep_attrs=True)
    for name in "uv":
        hourly[name].attrs = {"units": "m s-1"}
    for name in "XY":
        hourly[name].attrs = fine[name].attrs
    rest = xr.zeros_like(hourly["u"].isel(time=0, drop=True), dtype="float64")
    options: dict[str, Any] = {
        "window": 5,
        "background": xr.Dataset(dict.fromkeys(("u", "v", "du", "dv"), rest)),
        "background_error": {"current": Diagonal(0.3), "trend": Diagonal(0.1)},
        "observation_error": ERROR,
        "minimizer": LBFGS(max_evaluations=30, ftol=1e-6),
    }
    first, last = hourly.isel(time=slice(41)), hourly.isel(time=slice(40, None))
    torch.manual_seed(0)
    model: torch.nn.Module = Corrected(Trend(), torch.nn.Conv2d(4, 4, 1), scale=1e-4)
    training: dict[str, Any] = {"minibatch": 4, "held_out": 0.25, "patience": 30, "forecast_weight": 1.0}
    training["observation"] = {"v": Images(first["v"], error=ERROR)}
    for rate, rounds in ((0.05, 80), (0.01, 40)):
        adam = partial(torch.optim.Adam, lr=rate)
        model = xvar.learn(first[["u"]], dynamics=model, optimizer=adam, rounds=rounds, **training, **options).dynamics
    options |= {"observation": {"v": Images(last["v"], error=ERROR)}, "stride": 1}
    found: dict[str, Any] = {}
    for name, dynamics in (("trend", Trend()), ("trend and network", model)):
        forecast = last[["u"]].var4d.assimilate(dynamics=dynamics, **options).var4d.forecast("4h", dynamics=dynamics)
        valid = np.isin(forecast["time"].values, last["time"].values).all(axis=1)
        forecast = forecast.isel(window=valid)
        found[name] = _squares(forecast, forecast["time"], last)
        found["persistence"] = _squares(last.sel(time=forecast["forecast_reference_time"]), forecast["time"], last)
    return found


def _squares(forecast: xr.Dataset, times: xr.DataArray, truth: xr.Dataset) -> Array:
    """Mean squared error of a component (window, lead)."""
    departures = [forecast[name].drop_vars("time", errors="ignore") - truth[name].sel(time=times) for name in "uv"]
    return np.asarray(sum((part**2).mean(["Y", "X"]) for part in departures).transpose("window", ...).values / 2)


def interval(gains: Array, seed: int = 0) -> tuple[float, float]:
    """95 % interval of the mean of consecutive windows, by blocks."""
    random, count = np.random.default_rng(seed), len(gains)
    means = []
    for _ in range(DRAWS):
        starts = random.integers(0, count - BLOCK + 1, -(-count // BLOCK))
        means.append(np.concatenate([gains[start : start + BLOCK] for start in starts])[:count].mean())
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def measure() -> dict[str, Any]:
    """Figures of both parts."""
    found: dict[str, Any] = {"lorenz": [lorenz(seed) for seed in SEEDS]}
    real = currents()
    if real is not None:
        found["currents"] = {name: squares.tolist() for name, squares in real.items()}
    return found


def table(found: Mapping[str, Any]) -> str:
    """Both tables."""
    lines = [
        "| Lorenz-96, seed | error of | without | learned | true model | share of the gap closed |",
        "|---|---|---|---|---|---|",
    ]
    for seed, row in enumerate(found["lorenz"]):
        for name in ("analysis", "forecast", "from exact states"):
            without, learned, perfect = (row[model][name] for model in ("without", "learned", "perfect"))
            closed = (without - learned) / (without - perfect)
            lines.append(f"| {seed} | {name} | {without:.3f} | {learned:.3f} | {perfect:.3f} | {100 * closed:.1f} % |")
    if "currents" in found:
        squares = {name: np.array(values) for name, values in found["currents"].items()}
        lines += ["", "| currents, RMSE in m s-1 | 1 h | 2 h | 3 h | 4 h |", "|---|---|---|---|---|"]
        for name, values in squares.items():
            errors = " | ".join(f"{error:.3f}" for error in np.sqrt(values.mean(axis=0)))
            lines.append(f"| {name} | {errors} |")
        count = len(squares["trend"])
        lines += ["", f"Mean squared error over four hours, less with the network, {count} windows (95 %):", ""]
        for name in ("trend", "persistence"):
            gains = (squares[name] - squares["trend and network"]).mean(axis=1)
            low, high = interval(gains)
            share = 100 * gains.mean() / squares[name].mean()
            lines.append(f"- than of {name}: {share:.0f} %, {gains.mean():.4f} m2 s-2 ({low:.4f} to {high:.4f})")
    return "\n".join(lines)
