from __future__ import annotations

import pytest
import torch

from tests.core.covariance.operators import OperatorTests, dense, relative
from tests.core.numerics import random
from xvar.core.covariance import Covariance, Diagonal, Matern, Tikhonov
from xvar.core.covariance.composite import Sum, grown
from xvar.core.grid import Grid

GRID = Grid((6, 5), (20e3, 25e3))
SHAPE = (1, 2, 6, 5)
MATERN, ROUGH = Matern(0.5, 60e3), Diagonal(0.2)


class TestSum(OperatorTests):
    iterative = True
    shape = (3, 2, 6, 5)
    exact_inverse_hessian = False  # each term as if it were alone

    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        return Sum((MATERN, ROUGH), (1.0, 2.0), 2).bind(GRID, dtype=dtype, device=device)


def matrix(specification: object) -> torch.Tensor:
    return dense(specification.bind(GRID, dtype=torch.float64).apply, SHAPE)  # type: ignore[attr-defined]


def test_it_is_the_sum_of_its_terms() -> None:
    found = matrix(Sum((MATERN, ROUGH), (1.5, 2.0), 2))
    assert relative(found, 2.25 * matrix(MATERN) + 4 * matrix(ROUGH)) < 1e-12


@pytest.mark.parametrize("model", [Diagonal(1e-3), Matern(2e-3, 40e3)])
@pytest.mark.parametrize(
    "analysis", [Diagonal(0.3), Matern(0.5, 60e3), Tikhonov(gradient=1e9, curvature=1e18, mean_std=1.0)]
)
def test_growth_adds_the_variance_of_the_model_error(analysis: object, model: object) -> None:
    found = matrix(grown(analysis, model, 3600.0, 2))  # type: ignore[arg-type]
    assert relative(found, matrix(analysis) + 3600 * matrix(model)) < 1e-11


def test_growth_from_no_error_is_that_of_the_model() -> None:
    assert relative(matrix(grown(None, MATERN, 100.0, 2)), 100 * matrix(MATERN)) < 1e-12


def test_two_diagonals_need_no_second_control() -> None:
    std = 0.1 + random((1, 2, 6, 5), 3).abs()
    found = grown(Diagonal(std), Diagonal(0.01), 400.0, 2).bind(GRID, dtype=torch.float64)
    assert found.control_shape(SHAPE) == SHAPE
    assert relative(found.apply(torch.ones(SHAPE, dtype=torch.float64)), std**2 + 0.04) < 1e-12


def test_windows_of_a_sum_are_those_of_its_terms() -> None:
    std = torch.tensor([0.1, 0.5, 2.0], dtype=torch.float64).reshape(3, 1, 1, 1)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-4)):
        whole = Sum((Matern(std, 60e3), Diagonal(2 * std)), (1.0, 1.0), 2).bind(GRID, dtype=dtype)
        part = whole.select(torch.tensor([2, 0]))
        control, state = random(whole.control_shape((3, *SHAPE[1:])), 4, dtype), random((3, *SHAPE[1:]), 5, dtype)
        for name, argument in (("sqrt", control), ("sqrt_transpose", state), ("solve", state)):
            found, expected = getattr(part, name)(argument[[2, 0]]), getattr(whole, name)(argument)[[2, 0]]
            assert relative(found, expected) < tolerance
