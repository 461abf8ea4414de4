"""Linear models and dense covariances, and their estimates by linear algebra."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tests.core.numerics import random
from xvar.core.covariance import Covariance
from xvar.core.covariance.base import Specification
from xvar.core.dynamics import State
from xvar.core.grid import Grid


def times(matrix: Tensor, vectors: Tensor) -> Tensor:
    """The matrix times each vector (window, 1, n); elementwise, so that a window's bits are its own."""
    flat = vectors.flatten(1)
    product = (matrix * flat[:, None]).flatten(0, 1).sum(1)
    return product.view(len(flat), 1, len(matrix))


@dataclass(frozen=True, eq=False)
class LinearModel:
    """dx/dt = A x, integrated exactly, of a state ``x`` (window, 1, n)."""

    rates: Tensor

    def matrix(self, seconds: float) -> Tensor:
        return torch.linalg.matrix_exp(self.rates * seconds)

    def __call__(self, state: State, seconds: float) -> State:
        return {"x": times(self.matrix(seconds).to(state["x"].dtype), state["x"])}


class DenseCovariance(Covariance):
    def __init__(self, matrix: Tensor, dtype: torch.dtype) -> None:
        root = torch.linalg.cholesky(matrix)
        self.root, self.inverse = root.to(dtype), torch.linalg.inv(matrix).to(dtype)
        self.dtype, self.device = dtype, matrix.device

    def sqrt(self, control: Tensor) -> Tensor:
        return times(self.root, control)

    def sqrt_transpose(self, state: Tensor) -> Tensor:
        return times(self.root.T, state)

    def solve(self, state: Tensor) -> Tensor:
        return times(self.inverse, state)


@dataclass(frozen=True, eq=False)
class Dense(Specification):
    """A covariance given as a matrix (n, n)."""

    matrix: Tensor

    def bind(self, grid: Grid, *, dtype: torch.dtype = torch.float32, device: Any = None) -> DenseCovariance:
        return DenseCovariance(self.matrix, dtype)


@dataclass(frozen=True, eq=False)
class Seen:
    """H: a matrix (p, n) of the state."""

    matrix: Tensor

    def __call__(self, state: State) -> Tensor:
        return times(self.matrix.to(state["x"].dtype), state["x"])


def covariance_matrix(size: int, seed: int, std: float = 1.0) -> Tensor:
    """A full matrix with a condition number of some tens."""
    square = random((size, size), seed)
    return std**2 * (square @ square.T / size + 0.3 * torch.eye(size, dtype=torch.float64))


def blue(mean: Tensor, covariance: Tensor, operator: Tensor, noise: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Best linear unbiased estimate (window, n) from y = H x + noise, and H K's trace."""
    innovation = values - mean @ operator.T
    spread = operator @ covariance @ operator.T
    gain = covariance @ operator.T @ torch.linalg.inv(spread + noise)
    return mean + innovation @ gain.T, torch.trace(operator @ gain)


def smoother(
    mean: Tensor,
    covariance: Tensor,
    transitions: Sequence[Tensor],
    errors: Sequence[Tensor],
    seen: Sequence[tuple[Tensor, Tensor, Tensor] | None],
) -> tuple[list[Tensor], list[Tensor]]:
    """Smoother of Rauch, Tung and Striebel: means (window, n) and covariances at all times, the first included.

    `seen` holds (H, R, y) for each time at which there are observations.
    """

    def update(mean: Tensor, covariance: Tensor, found: tuple[Tensor, Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        if found is None:
            return mean, covariance
        operator, noise, values = found
        gain = covariance @ operator.T @ torch.linalg.inv(operator @ covariance @ operator.T + noise)
        keep = torch.eye(len(covariance), dtype=torch.float64) - gain @ operator
        return mean + (values - mean @ operator.T) @ gain.T, keep @ covariance @ keep.T + gain @ noise @ gain.T

    filtered = [update(mean, covariance, seen[0])]
    forecasts = []
    for transition, error, found in zip(transitions, errors, seen[1:], strict=True):
        mean, covariance = filtered[-1]
        forecasts.append((mean @ transition.T, transition @ covariance @ transition.T + error))
        filtered.append(update(*forecasts[-1], found))
    smoothed, spreads = [filtered[-1][0]], [filtered[-1][1]]
    for index in reversed(range(len(transitions))):
        mean, covariance = filtered[index]
        ahead, spread = forecasts[index]
        gain = covariance @ transitions[index].T @ torch.linalg.inv(spread)
        smoothed.append(mean + (smoothed[-1] - ahead) @ gain.T)
        spreads.append(covariance + gain @ (spreads[-1] - spread) @ gain.T)
    return smoothed[::-1], spreads[::-1]
