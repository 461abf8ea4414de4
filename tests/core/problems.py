"""A small problem whose model is linear, and observations of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tests.core.linear import Dense, LinearModel, covariance_matrix
from tests.core.numerics import random
from xvar.core.grid import Grid
from xvar.core.observation import Component, Observation
from xvar.core.problem import Problem

SIZE = 5
RATES = random((SIZE, SIZE), 1)
STEPS = (0.1, 0.3, 0.2, 0.15)
ENDS = (0.0, 0.1, 0.4, 0.6, 0.75)


def linear(observations: tuple[Observation, ...] = (), windows: int = 2, **settings: Any) -> Problem:
    return Problem(
        grid=Grid((SIZE,), (1.0,)),
        dynamics=LinearModel(RATES),
        background={"x": random((windows, 1, SIZE), 2)},
        observations=observations,
        **{"steps": STEPS, "background_error": {"x": Dense(covariance_matrix(SIZE, 3))}, **settings},
    )


def observed(time: float, seed: int = 4, windows: int = 2, **settings: Any) -> Observation:
    return Observation(time, Component("x"), random((windows, 1, SIZE), seed), torch.tensor(0.5).double(), **settings)


def half_square(values: Tensor) -> Tensor:
    return 0.5 * values.square().flatten(1).sum(1)
