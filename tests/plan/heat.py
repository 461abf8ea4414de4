"""A linear model of two variables, with records and tables of it, for tests against linear algebra."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

import xvar  # noqa: F401 -- the accessor
from tests.core.numerics import random
from xvar.covariance import Diagonal
from xvar.minimize import LBFGS

SHAPE, FRAME = (5, 6), 600.0
BEGIN = np.datetime64("2020-01-01", "ns")
QUICK = LBFGS(max_evaluations=40, ftol=1e-3)
SHARP = LBFGS(max_evaluations=2000, gtol=1e-13, ftol=0.0, history_size=40)
STD = {"sst": 0.8, "flux": 0.3}

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Heat:
    """Temperature that a flux warms, and that mixes with its neighbour; the flux decays. Linear."""

    step: float | None = FRAME / 2
    components: ClassVar = {"sst": ("sst",), "flux": ("flux",)}

    def __call__(self, state: dict[str, Tensor], seconds: float) -> dict[str, Tensor]:
        sst, flux = state["sst"], state["flux"]
        mixed = sst + 0.1 * (sst.roll(1, -1) - sst)
        return {"sst": mixed + seconds / FRAME * flux, "flux": (1 - 0.2 * seconds / FRAME) * flux}


def numbers(*shape: int, seed: int) -> Array:
    return random(shape, seed).numpy()


def after(seconds: Any) -> Any:
    return BEGIN + (np.asarray(seconds) * 1e9).astype("timedelta64[ns]")


def images(values: Array, seconds: Any, name: str = "sst") -> xr.DataArray:
    return xr.DataArray(
        values,
        {
            "time": after(seconds),
            "y": ("y", np.arange(SHAPE[0]) * 1e3, {"units": "m", "standard_name": "projection_y_coordinate"}),
            "x": ("x", np.arange(SHAPE[1]) * 1e3, {"units": "m", "standard_name": "projection_x_coordinate"}),
        },
        ("time", "y", "x"),
        name,
        {"units": "degree_Celsius"},
    )


def record(frames: int = 4) -> xr.Dataset:
    values = 15 + numbers(frames, *SHAPE, seed=7)
    values[1, 2, 2:4] = np.nan
    return images(values, np.arange(frames) * FRAME).to_dataset()


def background() -> xr.Dataset:
    field = images(15 + 0.5 * numbers(1, *SHAPE, seed=8), [0.0])[0].drop_vars("time")
    flux = field.copy(data=0.2 * numbers(*SHAPE, seed=9)).assign_attrs(units="K")
    return xr.Dataset({"sst": field, "flux": flux})


TIMES = np.array([0.0, 250.0, 300.0, 900.0, 1333.0, 1800.0, 1700.0])


def gauges(times: Array = TIMES, seed: int = 3) -> xr.Dataset:
    generator = np.random.default_rng(seed)
    count = len(times)
    names = np.where(np.arange(count) % 3 == 2, "flux", "sst")
    return xr.Dataset(
        {
            "value": ("report", np.where(names == "flux", 0.0, 15.0) + generator.normal(size=count)),
            "std": ("report", 0.1 + 0.2 * generator.random(count)),
            "variable": ("report", names),
            "time": ("report", after(times)),
            "y": ("report", 4e3 * generator.random(count)),
            "x": ("report", 5e3 * generator.random(count)),
        }
    )


def assimilate(data: xr.Dataset, observation: Any = None, **options: Any) -> xr.Dataset:
    given: dict[str, Any] = {
        "dynamics": Heat(),
        "background": background(),
        "background_error": {name: Diagonal(std) for name, std in STD.items()},
        "observation_error": 0.25,
        "minimizer": SHARP,
        "dtype": "float64",
    }
    return data.var4d.assimilate(observation=observation, **(given | options))


def trajectory(control: Tensor) -> list[dict[str, Tensor]]:
    """States of the model each half frame, from the increments over their deviations."""
    given, parts = background(), control.view(2, 1, 1, *SHAPE)
    state = {n: torch.from_numpy(given[n].values) + STD[n] * part for (n, part) in zip(STD, parts, strict=True)}
    states = [state]
    for _ in range(6):
        states.append(Heat()(states[-1], FRAME / 2))
    return states


def at(states: list[dict[str, Tensor]], seconds: float, name: str) -> Tensor:
    index = min(int(seconds // 300), 5)
    return torch.lerp(states[index][name], states[index + 1][name], seconds / 300 - index)[0, 0]


def bilinear(field: Tensor, x: float, y: float) -> Tensor:
    i, j = min(int(x), SHAPE[1] - 2), min(int(y), SHAPE[0] - 2)
    p, q = x - i, y - j
    return (1 - q) * ((1 - p) * field[j, i] + p * field[j, i + 1]) + q * (
        (1 - p) * field[j + 1, i] + p * field[j + 1, i + 1]
    )


def at_points(states: list[dict[str, Tensor]], table: xr.Dataset) -> Tensor:
    seconds = (table["time"].values - BEGIN) / np.timedelta64(1, "s")
    rows = zip(seconds, table["variable"].values, table["x"].values / 1e3, table["y"].values / 1e3, strict=True)
    return torch.stack([bilinear(at(states, float(t), str(n)), float(x), float(y)) for t, n, x, y in rows])
