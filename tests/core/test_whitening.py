"""Correlated errors of observation: against dense matrices, with adjoints, and window by window."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.core.numerics import adjoint_error, random
from tests.faults.codes import codes
from xvar.core.cost import Cost
from xvar.core.covariance import Diagonal, Matern
from xvar.core.covariance.channels import Channels
from xvar.core.grid import Grid
from xvar.core.linearisation import Linearisation
from xvar.core.observation import Component, Observation
from xvar.core.problem import Problem
from xvar.core.whitening import whitened
from xvar.errors import InputError

GRID = Grid((5, 6), (1e3, 1e3))
SHAPE = (3, 2, 5, 6)
MATRIX = torch.tensor([[0.9, 0.4], [0.4, 0.5]], dtype=torch.float64)
ERRORS: dict[str, Any] = {
    "matern": Matern(0.5, length=2.5e3),
    "smooth": Matern(0.5, length=1.5e3, smoothness=2),
    "channels": Channels(MATRIX),
    "both": Channels(MATRIX, Matern(1.0, length=2e3)),
    "padded": Matern(0.5, length=2e3, edges="appended_zero"),
}


def mask(windows: int = 3) -> Tensor:
    """The first window is complete, the second has holes, the third has one value."""
    found = torch.ones(SHAPE, dtype=torch.bool)
    found[1, 0, 1:3, 2], found[1, 1, :, 4] = False, False
    found[2] = False
    found[2, 1, 2, 2] = True
    return found[:windows]


def columns(function: Any, shape: tuple[int, ...]) -> Tensor:
    """The matrix of a linear function of one window (n, m)."""
    units = torch.eye(int(torch.tensor(shape).prod()), dtype=torch.float64)
    return torch.stack([function(unit.reshape(1, *shape)).flatten() for unit in units], dim=1)


@pytest.mark.parametrize("name", ERRORS)
def test_the_square_is_the_inverse_of_the_observed_block(name: str) -> None:
    bound = ERRORS[name].bind(GRID, dtype=torch.float64)
    whole = columns(bound.apply, SHAPE[1:])
    for window in range(3):
        seen = mask()[window : window + 1]
        root = columns(lambda d, seen=seen: whitened(d * seen, bound, seen), SHAPE[1:])
        rows = seen.flatten()
        expected = torch.linalg.inv(whole[rows][:, rows])
        found = (root.T @ root)[rows][:, rows]
        assert float((found - expected).abs().max() / expected.abs().max()) < 1e-10
        assert float(root[:, ~rows].abs().max().nan_to_num()) == 0 if (~rows).any() else True


@pytest.mark.parametrize("name", ERRORS)
def test_it_has_its_adjoint_and_keeps_windows_apart(name: str) -> None:
    bound, seen = ERRORS[name].bind(GRID, dtype=torch.float64), mask()

    def function(flat: Tensor) -> Tensor:
        return whitened(torch.where(seen, flat.view(SHAPE), 0.0), bound, seen).flatten()

    point = random((180,), 1)
    assert adjoint_error(function, point, random(point.shape, 2), random(function(point).shape, 3)) < 1e-9
    values = torch.where(seen, random(SHAPE, 4), 0.0)
    together = whitened(values, bound, seen)
    for window in range(3):
        one = torch.tensor([window])
        assert torch.equal(whitened(values[one], bound.select(one), seen[one]), together[one])
    single = whitened(values.float(), bound, seen)
    assert single.dtype == torch.float32
    assert float((single - together).abs().max() / together.abs().max()) < 1e-6


def test_hessian_and_noise_of_the_posterior_hold_the_inverse_of_r() -> None:
    r"""The product is :math:`I + B^{T/2} H^T R^{-1} H B^{1/2}`, and the noise has the covariance of its second term."""
    noise, values = ERRORS["both"], random(SHAPE, 5)
    values[~mask()] = torch.nan
    bound = noise.bind(GRID, dtype=torch.float64)
    observation = Observation(
        0.0, Component("x"), values, torch.ones((), dtype=torch.float64), covariance=bound, whole=True
    )
    background = {"x": random(SHAPE, 6)}
    problem = Problem(GRID, lambda state, _: state, (1.0,), background, {"x": Diagonal(0.7)}, (observation,))
    cost = Cost(problem)
    quadratic = Linearisation(cost, cost.zero(), exact=True)
    whole = columns(bound.apply, SHAPE[1:])
    units = torch.eye(60, dtype=torch.float64)
    products = torch.stack([quadratic.product(unit.expand(3, 60)) for unit in units], dim=-1)
    noises = torch.stack([quadratic.adjoint([unit.expand(3, 60)]) for unit in units], dim=-1)
    for window in range(3):
        rows = mask()[window].flatten()
        expected = torch.zeros(60, 60, dtype=torch.float64)
        expected[rows[:, None] & rows] = 0.49 * torch.linalg.inv(whole[rows][:, rows]).flatten()
        torch.testing.assert_close(products[window], units + expected, rtol=0, atol=1e-9)
        torch.testing.assert_close(noises[window] @ noises[window].T, expected, rtol=0, atol=1e-9)
        departure = (background["x"][window] - values[window]).flatten()[rows]
        misfit = 0.5 * departure @ torch.linalg.solve(whole[rows][:, rows], departure)
        torch.testing.assert_close(cost.terms(cost.zero())["observation"][window], misfit, rtol=1e-10, atol=0)


def test_observations_with_correlated_errors_stay_on_the_full_grid() -> None:
    """On a coarser grid the state is interpolated to the values, and their error is the same."""
    bound, values = ERRORS["both"].bind(GRID, dtype=torch.float64), random((1, 2, 5, 6), 5)
    observation = Observation(0.0, Component("x"), values, torch.ones(()), covariance=bound, whole=True)
    background = {"x": torch.ones(1, 2, 5, 6, dtype=torch.float64)}
    problem = Problem(GRID, lambda state, _: state, (1.0,), background, {"x": Diagonal(0.7)}, (observation,))
    fine, coarse = Cost(problem), Cost(problem.coarsen(2))
    torch.testing.assert_close(fine.value(fine.zero()), coarse.value(coarse.zero()))


@pytest.mark.parametrize("matrix", [[[1.0, 2.0], [2.0, 1.0]], [[1.0, 0.2], [0.3, 1.0]], [1.0, 2.0], [[float("nan")]]])
def test_a_matrix_that_is_no_covariance_is_rejected(matrix: Any) -> None:
    with pytest.raises(InputError) as caught:
        Channels(matrix)
    assert codes(caught.value) == ["channels-matrix"]
