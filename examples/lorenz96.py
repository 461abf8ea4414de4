"""Lorenz-96, observed every 0.05 with an error of one, in cycles of 4D-Var: the benchmark of Sakov and Oke (2008).

A twin experiment of forty variables: the truth is a run of the model. Windows of 16 observations are cycled: the
background of each is the forecast of the analysis before. B is stated, or that of an ensemble of assimilations.

    python examples/lorenz96.py [--cycles 60] [--members 20] [--half] [--json -]

Sakov, P., Oke, P. R. (2008), doi:10.1111/j.1600-0870.2007.00299.x.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

import xvar

MODEL = xvar.dynamics.Lorenz96()
VARIABLES, WINDOW, NOISE = 40, 16, 1.0
SPREAD = 0.25  # standard deviation of B, about that of the forecasts once the cycles have settled
ENSEMBLE = {"inflation": 1.02, "localisation": 4.4}
SPIN_UP = 10  # cycles


def twin(frames: int, seed: int = 0) -> tuple[xr.DataArray, xr.DataArray]:
    """The truth on the attractor (time, i), and observations of it."""
    noise = np.random.default_rng(seed)
    state = {"x": torch.from_numpy(8 + noise.standard_normal((1, 1, VARIABLES)))}
    states = []
    for index in range(400 + frames):
        state = MODEL(state, MODEL.step)
        if index >= 400:
            states.append(state["x"][0, 0].numpy())
    dates = np.datetime64("2000-01-01", "ns") + np.arange(frames) * np.timedelta64(50, "ms")
    truth = xr.DataArray(np.array(states), {"time": dates}, ("time", "i"), "x")
    return truth, truth + NOISE * noise.standard_normal(truth.shape)


def experiment(cycles: int = 60, members: int = 0, *, half: bool = False, seed: int = 0) -> dict[str, Any]:
    """Errors over the cycles after the first ten, at the beginnings and the ends of windows."""
    truth, observations = twin(cycles * WINDOW, seed)
    if half:
        observations[:, 1::2] = np.nan
    begin = time.perf_counter()
    first = (truth[0] + 0.5 * np.random.default_rng(seed + 1).standard_normal(VARIABLES)).drop_vars("time")
    analysis = observations.to_dataset(name="x").var4d.assimilate(
        dynamics=MODEL,
        window=WINDOW,
        background=xvar.background.Cycled(first=first.to_dataset(name="x")),
        background_error=xvar.covariance.Diagonal(std=SPREAD),
        observation_error=NOISE,
        ensemble=xvar.Ensemble(members=members, **ENSEMBLE) if members else None,
        minimizer=xvar.minimize.LBFGS(max_evaluations=60, ftol=1e-5),
    )
    seconds = time.perf_counter() - begin
    after = analysis.isel(window=slice(min(SPIN_UP, cycles // 2), None))
    departure = after["x"] - truth.sel(time=after["time"])

    def rmse(values: xr.DataArray) -> float:
        """Root mean square over the variables, and its mean over the cycles, as DAPPER reports it."""
        return float(np.sqrt((values**2).mean("i")).mean())

    start = truth.sel(time=after["time"].isel(step=0))
    found = {
        "rmse_background": rmse(after["x_background"] - start),
        "rmse_analysis": rmse(departure.isel(step=0)),
        "rmse_end_of_window": rmse(departure.isel(step=-1)),
        "observation_error": NOISE,
        "seconds": seconds,
    }
    if members:
        found["spread_over_error"] = rmse(after["x_std"].isel(step=-1)) / found["rmse_end_of_window"]
    return found


def main() -> None:
    """Print the figures as a table, or as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cycles", type=int, default=60, help="windows, one after the other")
    parser.add_argument("--members", type=int, default=0, help="members of the ensemble; 0: B as it is stated")
    parser.add_argument("--half", action="store_true", help="observe every second variable")
    parser.add_argument("--json", metavar="FILE", help="write JSON there, - for standard output")
    options = parser.parse_args()
    figures = experiment(options.cycles, options.members, half=options.half)
    if options.json:
        text = json.dumps(figures, indent=2)
        sys.stdout.write(text + "\n") if options.json == "-" else Path(options.json).write_text(text + "\n")
        return
    for key, value in figures.items():
        sys.stdout.write(f"{key:24s} {value:,.3f}\n")


if __name__ == "__main__":
    main()
