"""The paper's rain case: J, the cost of finding its minimum, and the forecasts that follow.

Filoche, Béréziat, Brajard and Charantonis (2021), "Variational assimilation of geophysical images leveraging deep
learning tools", assimilate four radar frames of the storm of 3 January 2018 over Brest. This program states their
problem with xvar's classes, minimises J and forecasts as they do; then it repeats both with free edges and until
convergence.

    python examples/filoche2021_rain.py [FILE] [--json -]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import xvar
from xvar.covariance import Diagonal, Tikhonov
from xvar.dynamics import Advection
from xvar.minimize import LBFGS
from xvar.observation import Images

WINDOW = 4  # frames
LEAD = "15min"
STEP = 60.0  # s
RAINING = 0.5  # counts; above it an observation weighs more
STD_RAINING, STD_DRY = 0.2, 5.0  # R^-1 = 25 and 0.04
STD_BACKGROUND = 10.0  # B^-1 = 0.01
GRADIENT, DIVERGENCE = 5e9, 5e6


def smoothed(frames: xr.DataArray) -> xr.DataArray:
    """Mean over 5 by 5 pixels, with zeros beyond the edges."""
    padded = frames.pad(y=2, x=2, constant_values=0)
    return padded.rolling(y=5, x=5, center=True).mean().isel(y=slice(2, -2), x=slice(2, -2))


def assimilate(frames: xr.DataArray, model: Advection, motion_error: Tikhonov, minimizer: LBFGS) -> xr.Dataset:
    """The paper's problem: rest and the first frame are the background, each frame replaces the tracer."""
    return frames.var4d.assimilate(
        dynamics=model,
        background_error={"velocity": motion_error, str(frames.name): Diagonal(STD_BACKGROUND)},
        observation=Images(reset="observation"),
        observation_error=xr.where(frames > RAINING, STD_RAINING, STD_DRY),
        minimizer=minimizer,
        dtype="float64",
    )


def root_mean_square_errors(forecast: xr.DataArray, truth: xr.DataArray) -> list[float]:
    """Over the whole image, for each valid time, in the units of the file."""
    forecast = forecast.isel(window=0).swap_dims(lead_time="time")
    squared = (forecast - truth.sel(time=forecast["time"])) ** 2
    return [float(value) for value in np.sqrt(squared.mean(["y", "x"]))]


def run(rain: xr.DataArray) -> dict[str, Any]:
    """All figures of the case."""
    # The paper counts rows downward: its zeros are appended below the last row and behind the last column.
    rain = rain.assign_coords(y=("y", np.arange(rain.sizes["y"]) * 1200.0, rain["y"].attrs))
    frames = smoothed(rain.isel(time=slice(0, WINDOW)).astype("float64"))
    zero_edges = Advection("inertial", "arrival", velocity_edges="zero", step=STEP)
    begin = time.perf_counter()
    analysis = assimilate(
        frames,
        zero_edges,
        Tikhonov(GRADIENT, divergence=DIVERGENCE, edges="appended_zero"),
        LBFGS(max_evaluations=300, ftol=1e-8, history_size=100),
    )
    seconds = time.perf_counter() - begin
    ahead = Advection("inertial", "two_level", iterations=5, velocity_edges="zero", step=STEP / 2)
    forecast = analysis.var4d.forecast(LEAD, dynamics=ahead)
    free_edges = Advection("inertial", "arrival", step=STEP)
    free = assimilate(
        frames,
        free_edges,
        Tikhonov(GRADIENT, divergence=DIVERGENCE, mean_std=30.0),
        LBFGS(max_evaluations=300, ftol=1e-8, history_size=100),
    )
    free_forecast = free.var4d.forecast(LEAD, dynamics=Advection("inertial", "two_level", iterations=5, step=STEP / 2))
    name = str(rain.name)
    persistence = rain.isel(time=WINDOW - 1, drop=True) + xr.zeros_like(forecast[name])
    return {
        "cost_background": float(analysis["cost"].isel(window=0, stage=0)),
        "cost_analysis": float(analysis["cost"].isel(window=0, stage=1)),
        "evaluations": int(analysis["evaluations"].isel(window=0)),
        "seconds": seconds,
        "rmse": root_mean_square_errors(forecast[name], rain),
        "rmse_free_edges": root_mean_square_errors(free_forecast[name], rain),
        "rmse_persistence": root_mean_square_errors(persistence, rain),
    }


def main() -> None:
    """Print the figures as a table, or as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, help="NetCDF with rain(time, y, x); default: xvar's own sample")
    parser.add_argument("--json", metavar="FILE", help="write JSON there, - for standard output")
    options = parser.parse_args()
    dataset = xvar.datasets.sample() if options.file is None else xr.open_dataset(options.file)
    figures = run(dataset["rain"])
    if options.json:
        text = json.dumps(figures, indent=2)
        sys.stdout.write(text + "\n") if options.json == "-" else Path(options.json).write_text(text + "\n")
        return
    for key, value in figures.items():
        shown = ", ".join(f"{part:.2f}" for part in value) if isinstance(value, list) else f"{value:,.1f}"
        sys.stdout.write(f"{key:18s} {shown}\n")


if __name__ == "__main__":
    main()
