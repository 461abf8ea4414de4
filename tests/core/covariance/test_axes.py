"""Covariances on one axis, on products of axes, and as a matrix."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.core.covariance.operators import OperatorTests, dense, relative
from tests.core.numerics import random
from xvar.core.covariance import Covariance, Diagonal, Matern
from xvar.core.covariance.composite import Ensemble
from xvar.core.covariance.matrix import Dense, Uniform
from xvar.core.covariance.product import Product
from xvar.core.grid import Grid
from xvar.errors import InputError

RING, LINE = Grid((24,), (1.0,), edges="periodic"), Grid((24,), (500.0,))
LEVELS = Grid((5, 6, 7), (10.0, 2e3, 3e3))


def matrix_of(operator: Covariance, *shape: int) -> Tensor:
    return dense(operator.apply, (1, *shape))


class TestRing(OperatorTests):
    shape = (3, 2, 24)

    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        return Matern(0.5, 3.0, 3).bind(RING, dtype=dtype, device=device)


class TestLine(OperatorTests):
    exact_inverse_hessian = False  # the variances of the waves are scaled at the ends
    shape = (3, 2, 24)

    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        std = torch.linspace(0.5, 1.5, 24, dtype=torch.float64)
        return Matern(std, 1500.0, 2).bind(LINE, dtype=dtype, device=device)


class TestDense(OperatorTests):
    shape = (3, 2, 24)

    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        root = random((24, 24), 3) / 5 + torch.eye(24, dtype=torch.float64)
        return Dense(root @ root.T).bind(LINE, dtype=dtype, device=device)


class TestDenseOfComponents(OperatorTests):
    shape = (3, 2, 12)

    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        root = random((24, 24), 3) / 5 + torch.eye(24, dtype=torch.float64)
        return Dense(root @ root.T).bind(Grid((12,), (1.0,)), dtype=dtype, device=device)


class TestProduct(OperatorTests):
    shape = (3, 2, 5, 6, 7)

    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        return Product(Matern(1.0, 20.0, 2), Matern(0.7, 6e3)).bind(LEVELS, dtype=dtype, device=device)


class TestEnsembleOnARing(OperatorTests):
    iterative = True
    shape = (3, 2, 24)

    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        error = Ensemble(random((6, 2, 24), 1), Matern(1.0, 4.0, 8), Diagonal(0.5), 0.8)
        return error.bind(RING, dtype=dtype, device=device)


@pytest.mark.parametrize("smoothness", [1, 2, 4])
def test_correlations_on_a_long_ring_are_those_of_the_family(smoothness: int) -> None:
    """Half-integer orders in closed form need an exponent of their own; here the integral of the spectrum."""
    spacing, length = 0.05, 1.5
    grid = Grid((800,), (spacing,), edges="periodic")
    column = (
        Matern(2.0, length, smoothness)
        .bind(grid, dtype=torch.float64)
        .apply(torch.eye(800, dtype=torch.float64)[:1][None])[0, 0]
    )
    scale = length if smoothness == 1 else length / math.sqrt(2 * smoothness - 2)
    k = torch.linspace(0, 400, 400001, dtype=torch.float64)
    power = (1 + (scale * k) ** 2) ** -(smoothness + 0.5)
    for lag in (0, 10, 30, 60):
        expected = 4 * torch.trapezoid(power * torch.cos(k * lag * spacing), k) / torch.trapezoid(power, k)
        assert float(column[lag]) == pytest.approx(float(expected), abs=2e-2)
    assert float(column[1]) == pytest.approx(float(column[-1]), rel=1e-12)


@pytest.mark.parametrize("grid", [RING, LINE])
def test_every_point_of_an_axis_has_the_stated_variance(grid: Grid) -> None:
    matrix = matrix_of(Matern(0.5, 3 * grid.spacing[0], 2).bind(grid, dtype=torch.float64), 1, 24)
    assert torch.allclose(matrix.diagonal(), torch.tensor(0.25, dtype=torch.float64), rtol=1e-12)


def test_correlations_cross_the_ends_of_a_ring_and_not_of_a_line() -> None:
    ring, line = (
        matrix_of(Matern(1.0, 3 * grid.spacing[0], 2).bind(grid, dtype=torch.float64), 1, 24) for grid in (RING, LINE)
    )
    assert ring[0, 23] == pytest.approx(float(ring[0, 1]), rel=1e-12)
    assert abs(float(line[0, 23])) < 1e-3


def test_a_product_is_the_kronecker_product() -> None:
    first, others = Matern(1.0, 20.0, 2), Matern(0.7, 6e3)
    found = matrix_of(Product(first, others).bind(LEVELS, dtype=torch.float64), 1, 5, 6, 7)
    parts = (
        matrix_of(first.bind(Grid((5,), (10.0,)), dtype=torch.float64), 1, 5),
        matrix_of(others.bind(Grid((6, 7), (2e3, 3e3)), dtype=torch.float64), 1, 6, 7),
    )
    assert relative(found, torch.kron(*parts)) < 1e-12


def test_a_uniform_error_leaves_an_ensemble_as_it_is() -> None:
    members = random((6, 2, 24), 1)
    found = matrix_of(Ensemble(members, Uniform()).bind(RING, dtype=torch.float64), 2, 24)
    assert relative(found, torch.cov(members.flatten(1).T)) < 1e-12
    uniform = Uniform(0.5).bind(RING, dtype=torch.float64)
    ones = torch.ones(1, 1, 24, dtype=torch.float64)
    assert relative(uniform.apply(ones), 24 * 0.25 * ones) < 1e-12
    assert relative(uniform.solve(uniform.apply(ones)), ones) < 1e-12


def test_a_dense_matrix_without_full_rank_has_a_pseudo_inverse() -> None:
    root = random((24, 3), 2)
    operator = Dense(root @ root.T).bind(LINE, dtype=torch.float64)
    inside = (root @ random((3, 1), 4)).view(1, 1, 24)
    assert relative(operator.apply(operator.solve(inside)), inside) < 1e-9


@pytest.mark.parametrize(
    ("specification", "grid", "code"),
    [
        (Dense(torch.eye(23)), LINE, "matrix-shape"),
        (Dense(torch.eye(24) + torch.diag(torch.ones(23), 1)), LINE, "covariance-not-symmetric"),
        (Dense(torch.eye(24) - 0.1), LINE, "covariance-not-positive"),
        (Matern(1.0, 20.0), LEVELS, "grid-axes"),
        (Product(Matern(1.0, 20.0), Matern(1.0, 6e3)), LINE, "grid-axes"),
        (Product(Matern(1.0, 20.0), Ensemble(random((3, 1, 6, 7), 1), Uniform())), LEVELS, "product-part"),
    ],
)
def test_faults(specification: Dense | Matern | Product, grid: Grid, code: str) -> None:
    with pytest.raises(InputError) as error:
        specification.bind(grid)
    assert [fault.code for fault in error.value.faults] == [code]
