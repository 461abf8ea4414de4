"""Currents from the height of the sea surface along satellite tracks, with a shallow-water model.

A twin experiment. The truth is a run of the model: eddies of one active layer in a periodic sea of 1200 km, after
60 days of spin-up. Six altimeters cross it and measure the height once a second with an error of 2 cm, for 25
days; currents are not measured. The prior knowledge is the truth of ten days earlier. Another run of the model gives
its correlation with the present state at each wavelength: high for large eddies, none for small ones, which would
otherwise stay in the analysis between the tracks. The background is each wave times its correlation, and B the
covariance of its error: a streamfunction links height and currents, with a spectrum from the same run.

    python examples/shallow_water_tracks.py [--days 25] [--json -]
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from xvar.assimilation import assimilate
from xvar.core.dynamics import trajectory
from xvar.core.grid import Grid
from xvar.covariance import Geostrophic, Homogeneous, Matern, Streamfunction
from xvar.dynamics import ShallowWater
from xvar.minimize import LBFGS
from xvar.observation import Points

DAY = 86400.0
POINTS, SPACING = 48, 25e3  # of the sea
GRID = Grid((POINTS, POINTS), (SPACING, SPACING), edges="periodic")
BEGIN = np.datetime64("2024-06-01T00:00", "ns")

MODEL = ShallowWater(depth=1.0, coriolis=9e-5, edges="periodic", viscosity=100.0)  # internal waves of 3.1 m/s
EDDIES = {"std": 0.18, "length": 90e3, "smoothness": 3}  # of the height, in metres

SATELLITES = 6
PASSES = 0.9  # of a satellite over the box, in a day
GROUND_SPEED, SAMPLING = 6.7e3, 6.7e3  # m/s, m: one value a second
NOISE = 0.02  # m
EARLIER = 10.0  # days, of the background
PAIRS = 9  # of states that are so far apart, five days after one another


def spin_up(days: float, seed: int) -> torch.Tensor:
    """A balanced random state, and what became of it, without the waves that it sent out on the way.

    These are filtered in time: the weighted mean over three days, some four inertial periods, has hardly any. Lynch,
    P., Huang, X.-Y. (1992) Initialization of the HIRLAM model using a digital filter,
    doi:10.1175/1520-0493(1992)120<1019:IOTHMU>2.0.CO;2.
    """
    error = Geostrophic(Matern(**EDDIES, edges="periodic"), Matern(1e-6, 90e3, edges="periodic"), MODEL.coriolis)
    flow = error.bind(GRID, dtype=torch.float64).sample((1, 3, POINTS, POINTS), torch.Generator().manual_seed(seed))
    states = torch.cat(run(run(flow.float(), days * DAY)[-1], 3 * DAY, 3600.0))
    weight = torch.hann_window(len(states), periodic=False)[:, None, None, None]
    return (states * weight).sum(0, keepdim=True) / weight.sum()


def run(flow: torch.Tensor, seconds: float, every: float | None = None) -> list[torch.Tensor]:
    """The states of the model at the multiples of a time."""
    model = MODEL.bind(GRID, dtype=flow.dtype, device=torch.device("cpu"))
    parts = 1 if every is None else round(seconds / every)
    return [state["flow"] for state in trajectory(model, {"flow": flow}, [seconds / parts] * parts)]


def labelled(flow: torch.Tensor, when: np.datetime64) -> xr.Dataset:
    """A state of the model as a Dataset."""
    along = np.arange(POINTS) * SPACING
    attrs = {
        name: {"units": "m", "standard_name": f"projection_{name}_coordinate", "axis": name.upper()} for name in "xy"
    }
    units = {"height": "m", "u": "m s-1", "v": "m s-1"}
    return xr.Dataset(
        {
            name: (("y", "x"), flow[0, index].numpy(), {"units": units[name]})
            for index, name in enumerate(MODEL.variables)
        },
        coords={"y": ("y", along, attrs["y"]), "x": ("x", along, attrs["x"]), "time": when},
    )


def tracks(days: float, seed: int) -> dict[str, np.ndarray[Any, Any]]:
    """Time in seconds, x and y of what the satellites see."""
    generator = np.random.default_rng(seed)
    side = (POINTS - 1) * SPACING
    passes = generator.poisson(SATELLITES * PASSES * days)
    times, xs, ys = [], [], []
    for begin in np.sort(generator.uniform(0, days * DAY - 300, passes)):
        slope = math.radians(20) * generator.choice([-1.0, 1.0])  # from north
        middle = generator.uniform(0, side)
        along = np.arange(-side, side, SAMPLING)
        x, y = middle + along * math.sin(slope), side / 2 + along * math.cos(slope)
        inside = (x >= 0) & (x <= side) & (y >= 0) & (y <= side)
        xs.append(x[inside])
        ys.append(y[inside])
        times.append(begin + SAMPLING / GROUND_SPEED * np.arange(inside.sum()))
    return {"seconds": np.concatenate(times), "x": np.concatenate(xs), "y": np.concatenate(ys)}


def observed(truth: torch.Tensor, every: float, where: dict[str, np.ndarray[Any, Any]], seed: int) -> xr.Dataset:
    """The truth along the tracks: linear in time between states ten minutes apart, and in space; with noise."""
    step = where["seconds"] / every
    first = np.minimum(step.astype(int), len(truth) - 2)
    position = torch.tensor(np.stack([where["x"], where["y"]]) / SPACING * 2 / (POINTS - 1) - 1, dtype=truth.dtype)
    values = np.empty(len(step))
    for index in np.unique(first):
        chosen = first == index
        grid = position[:, torch.from_numpy(chosen)].T[None, None]
        before, after = (
            torch.nn.functional.grid_sample(truth[k][None, :1], grid, align_corners=True)[0, 0, 0].numpy()
            for k in (index, index + 1)
        )
        share = step[chosen] - index
        values[chosen] = (1 - share) * before + share * after
    values += NOISE * np.random.default_rng(seed).standard_normal(len(values))
    dates = BEGIN + (where["seconds"] * 1e9).astype("timedelta64[ns]")
    return xr.Dataset(
        {"value": ("point", values), "std": ("point", np.full(len(values), NOISE))},
        coords={"time": ("point", dates), "x": ("point", where["x"]), "y": ("point", where["y"])},
    )


def energy_out_of_balance(flow: torch.Tensor) -> float:
    """Mean of half the squared velocity that is not geostrophic, m2 s-2."""
    balance = Geostrophic(Matern(1.0, 1e5), Matern(1.0, 1e5), MODEL.coriolis, edges="periodic").balance(
        GRID, dtype=flow.dtype
    )
    return 0.5 * float((flow[:, 1:] - balance(flow[:, :1])).square().sum(1).mean())


def streamfunction(flow: torch.Tensor) -> torch.Tensor:
    """That of the vorticity (state, y, x), in metres of height at the corners of the cells."""
    u, v = flow[:, 1], flow[:, 2]
    curl = ((v.roll(-1, -1) - v) - (u.roll(-1, -2) - u)) / SPACING
    waves = (2 * torch.sin(math.pi * torch.fft.fftfreq(POINTS, dtype=torch.float64)) / SPACING).square()
    squares = waves[:, None] + waves
    squares[0, 0] = torch.inf
    return torch.fft.ifft2(-torch.fft.fft2(curl) / squares).real * MODEL.coriolis / MODEL.gravity


def alike(residual: torch.Tensor) -> Matern:
    """Errors with the deviation and Daley's length of samples (state, component, y, x), a cell at least."""
    slope = (residual - residual.roll(1, -1)) / SPACING
    length = max(float(residual.std() / slope.std()), SPACING)
    return Matern(float(residual.std()), length, 2, edges="periodic")


def persistence(states: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """What to expect of a state ten days later: each wave times the correlation of its heights over that time."""
    waves = torch.fft.fftfreq(POINTS) * POINTS
    number = torch.hypot(waves[:, None], waves).round().long()

    def sums(products: torch.Tensor) -> torch.Tensor:
        return torch.bincount(number.flatten(), products.sum(0).flatten())

    spectra = torch.fft.fft2(states[:, 0])
    earlier, later = spectra[:-2], spectra[2:]
    alone = 0.5 * (sums(earlier.abs().square()) + sums(later.abs().square()))
    correlation = (sums((earlier.conj() * later).real) / alone).clamp(0, 1)
    correlation[0] = 1  # the mean height, which stays
    return lambda state: torch.fft.ifft2(torch.fft.fft2(state.double()) * correlation[number]).real.to(state)


def statistics(seed: int) -> tuple[Callable[[torch.Tensor], torch.Tensor], Streamfunction]:
    """What another run of the model says of states that are ten days apart: the one expected of the other, and B."""
    states = torch.cat(run(spin_up(60.0, seed), (EARLIER + 5.0 * (PAIRS - 1)) * DAY, 5 * DAY)).double()
    expected = persistence(states)
    difference = states[2:] - expected(states[:-2])
    stream = streamfunction(difference)
    unit = Matern(1.0, 1e5)
    balance = Streamfunction(unit, unit, unit, MODEL.coriolis, edges="periodic").balance(GRID, dtype=torch.float64)
    rest = difference - balance(stream[:, None])
    return expected, Streamfunction(
        Homogeneous(stream, edges="periodic"), alike(rest[:, :1]), alike(rest[:, 1:]), MODEL.coriolis, edges="periodic"
    )


def velocity_error(states: torch.Tensor, truth: torch.Tensor) -> float:
    """Root of the mean squared length of the difference, m/s."""
    return float((states - truth)[:, 1:].square().sum(1).mean().sqrt())


def experiment(days: float = 25.0, seed: int = 0, evaluations: int = 40) -> dict[str, Any]:
    """All figures of the twin; errors are compared with those of the truth of ten days earlier as it is."""
    earlier = spin_up(60.0, seed)
    start = run(earlier, EARLIER * DAY)[-1]
    every = 600.0
    truth = torch.cat(run(start, days * DAY, every))
    points = observed(truth, every, tracks(days, seed), seed + 1)
    expected, error = statistics(seed + 1000)
    begin = time.perf_counter()
    analysis = assimilate(
        points,
        observation=Points(variable="height", every="1D"),
        dynamics=MODEL,
        background=labelled(expected(earlier), BEGIN),
        background_error=error,
        minimizer=LBFGS(max_evaluations=evaluations, ftol=1e-4),
        window=f"{days}D",
    )
    seconds = time.perf_counter() - begin
    found = torch.from_numpy(np.stack([analysis[name].values[0] for name in MODEL.variables], axis=1))
    true, before = truth[-145:], run(earlier, (days - 1) * DAY)[-1]
    last = {"analysis": torch.cat(run(found[-2:-1], DAY, every)), "background": torch.cat(run(before, DAY, every))}
    errors = {name: velocity_error(states, true) for name, states in last.items()}
    used = analysis["observation_quality"] == 0
    residual = (analysis["observation_value"] - analysis["observation_analysis"]).where(used)
    return {
        "observations": int(analysis["number_of_observations"].item()),
        "evaluations": int(analysis["evaluations"].item()),
        "seconds": seconds,
        "cost_background": float(analysis["cost"].isel(window=0, stage=0)),
        "cost_analysis": float(analysis["cost"].isel(window=0, stage=1)),
        "residual_over_noise": float((residual / NOISE).std()),
        "speed_truth": float(true[:, 1:].square().sum(1).mean().sqrt()),
        **{f"velocity_error_{name}": error for name, error in errors.items()},
        "velocity_error_ratio": errors["analysis"] / errors["background"],
        "velocity_error_ratio_at_start": velocity_error(found[:1], truth[:1]) / velocity_error(earlier, truth[:1]),
        "ageostrophic_energy_truth": energy_out_of_balance(true),
        "ageostrophic_energy_analysis": energy_out_of_balance(last["analysis"]),
    }


def main() -> None:
    """Print the figures as a table, or as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--days", type=float, default=25.0, help="length of the window")
    parser.add_argument("--seed", type=int, default=0, help="of the truth, the tracks and the noise")
    parser.add_argument("--evaluations", type=int, default=40, help="of J, at most")
    parser.add_argument("--json", metavar="FILE", help="write JSON there, - for standard output")
    options = parser.parse_args()
    figures = experiment(options.days, options.seed, options.evaluations)
    if options.json:
        text = json.dumps(figures, indent=2)
        sys.stdout.write(text + "\n") if options.json == "-" else Path(options.json).write_text(text + "\n")
        return
    for key, value in figures.items():
        sys.stdout.write(f"{key:32s} {value:,.4g}\n")


if __name__ == "__main__":
    main()
