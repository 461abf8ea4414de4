"""The model of Lorenz (1996): dx_i/dt = (x_{i+1} - x_{i-2}) x_{i-1} - x_i + F on a ring, in time units of its own.

Lorenz and Emanuel (1998), doi:10.1175/1520-0469(1998)055<0399:OSFSWO>2.0.CO;2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xvar.core.dynamics import State


@dataclass(frozen=True)
class Lorenz96:
    """One fourth-order Runge-Kutta step of a state ``x`` (window, 1, variable)."""

    forcing: float = 8.0

    def tendency(self, x: Tensor) -> Tensor:
        return (x.roll(-1, -1) - x.roll(2, -1)) * x.roll(1, -1) - x + self.forcing

    def __call__(self, state: State, seconds: float) -> State:
        x = state["x"]
        first = self.tendency(x)
        second = self.tendency(x + 0.5 * seconds * first)
        third = self.tendency(x + 0.5 * seconds * second)
        fourth = self.tendency(x + seconds * third)
        return {"x": x + seconds / 6 * (first + 2 * second + 2 * third + fourth)}


def on_the_attractor(windows: int, seed: int = 1) -> Tensor:
    """States on the attractor, (window, 1, 40) in float64."""
    generator = torch.Generator().manual_seed(seed)
    state = {"x": 8 + torch.randn(windows, 1, 40, generator=generator, dtype=torch.float64)}
    model = Lorenz96()
    for _ in range(200):
        state = model(state, 0.05)
    return state["x"]
