"""Twenty of forty variables of the Lorenz-96 model, in cycles of 4D-Var.

A twin experiment: the truth is a run of the model; every second variable is observed, every 0.1 units of time (half a
day of weather), with an error of 1. Windows of 0.4 are cycled: the background of each is the forecast from the
analysis of the window before. Many truths are solved together, as windows of one batch.

    python examples/lorenz96.py [--cycles 50] [--json -]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xvar.core.dynamics import trajectory
from xvar.core.grid import Grid
from xvar.core.observation import Component, Compose, Observation
from xvar.core.problem import Problem
from xvar.core.solve import solve
from xvar.covariance import Diagonal
from xvar.dynamics import Lorenz96
from xvar.minimize import LBFGS

MODEL = Lorenz96()
VARIABLES, TRUTHS = 40, 20
STEPS = (MODEL.step,) * 8
OBSERVED = range(2, 9, 2)  # steps
NOISE = 1.0
BACKGROUND = 0.7  # standard deviation, about that of the forecasts once the cycles have settled


def every_second(values: Tensor) -> Tensor:
    """The variables that are observed."""
    return values[..., ::2]


def experiment(cycles: int = 50, seed: int = 0) -> dict[str, Any]:
    """Errors over the truths and the cycles after the first ten."""
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    truth = trajectory(MODEL, {"x": 8 + noise(TRUTHS, 1, VARIABLES)}, [MODEL.step] * 400)[-1]
    background = {"x": truth["x"] + 2 * noise(TRUTHS, 1, VARIABLES)}
    squares: dict[str, list[float]] = {"background": [], "analysis": [], "forecast": []}
    begin = time.perf_counter()
    for cycle in range(cycles):
        states = trajectory(MODEL, truth, STEPS)
        observations = tuple(
            Observation(
                time=step * MODEL.step,
                operator=Compose(Component("x"), every_second),
                values=every_second(states[step]["x"]) + NOISE * noise(TRUTHS, 1, VARIABLES // 2),
                std=torch.tensor(NOISE, dtype=torch.float64),
            )
            for step in OBSERVED
        )
        spread = 2.0 if cycle == 0 else BACKGROUND
        problem = Problem(
            grid=Grid((VARIABLES,), (1.0,)),
            dynamics=MODEL,
            steps=STEPS,
            background=background,
            background_error={"x": Diagonal(spread)},
            observations=observations,
        )
        analysis = solve(problem, LBFGS(max_evaluations=40, ftol=1e-5)).trajectory
        for name, found, true in (
            ("background", background, truth),
            ("analysis", analysis[0], truth),
            ("forecast", analysis[-1], states[-1]),
        ):
            squares[name].append(float((found["x"] - true["x"]).square().mean()))
        truth, background = states[-1], analysis[-1]
    kept = slice(min(10, cycles // 2), None)
    return {
        **{f"rmse_{name}": (sum(part[kept]) / len(part[kept])) ** 0.5 for name, part in squares.items()},
        "rmse_first_background": squares["background"][0] ** 0.5,
        "observation_error": NOISE,
        "seconds": time.perf_counter() - begin,
    }


def main() -> None:
    """Print the figures as a table, or as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cycles", type=int, default=50, help="windows, one after the other")
    parser.add_argument("--json", metavar="FILE", help="write JSON there, - for standard output")
    options = parser.parse_args()
    figures = experiment(options.cycles)
    if options.json:
        text = json.dumps(figures, indent=2)
        sys.stdout.write(text + "\n") if options.json == "-" else Path(options.json).write_text(text + "\n")
        return
    for key, value in figures.items():
        sys.stdout.write(f"{key:24s} {value:,.3f}\n")


if __name__ == "__main__":
    main()
