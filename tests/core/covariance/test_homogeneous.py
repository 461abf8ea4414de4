from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.core.covariance.operators import OperatorTests, dense
from tests.core.numerics import random
from xvar.core.covariance import Covariance, Matern
from xvar.core.covariance.homogeneous import Homogeneous
from xvar.core.grid import Grid


class TestFree(OperatorTests):
    exact_inverse_hessian = False  # its scale differs from point to point

    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        error = Homogeneous(0.3 * random((4, 9, 7), 0), 1.5)
        return error.bind(Grid((9, 7), (1e3, 1.5e3)), dtype=dtype, device=device)


class TestPeriodic(OperatorTests):
    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        error = Homogeneous(0.3 * random((2, 9, 7), 0), edges="periodic")
        return error.bind(Grid((9, 7), (1e3, 1.5e3)), dtype=dtype, device=device)


@pytest.mark.parametrize("edges", ["free", "periodic"])
def test_the_covariance_of_samples_comes_back(edges: Any) -> None:
    """Many draws of a known covariance: its response to a point, to a few per cent of its variance.

    But for the mean, which is a ring of one wave and known from as many numbers as there are draws.
    """
    grid = Grid((32, 32), (1e3, 1e3), edges=edges)
    known = Matern(2.0, 4e3, 2).bind(grid, dtype=torch.float64)
    samples = known.sample((128, 1, 32, 32), torch.Generator().manual_seed(0))[:, 0]
    found = Homogeneous(samples).bind(grid, dtype=torch.float64)
    point = torch.zeros(1, 1, 32, 32, dtype=torch.float64)
    point[..., 16, 15] = 1
    difference = found.apply(point) - known.apply(point)
    assert float((difference - difference.mean()).abs().max()) < 0.1 * 4.0
    doubled = Homogeneous(samples, 2.0).bind(grid, dtype=torch.float64)
    torch.testing.assert_close(doubled.apply(point), 4 * found.apply(point))


@pytest.mark.parametrize("edges", ["zero", "appended_zero"])
def test_with_zero_edges_the_largest_variance_is_that_of_the_samples(edges: Any) -> None:
    """The largest variance of a point is that of the samples; towards the edges it falls."""
    grid = Grid((24, 20), (1e3, 1e3))
    samples = (
        Matern(2.0, 3e3, 2).bind(grid, dtype=torch.float64).sample((8, 1, 24, 20), torch.Generator().manual_seed(0))
    )
    operator = Homogeneous(samples[:, 0], edges=edges).bind(grid, dtype=torch.float64)
    variance = dense(operator.apply, (1, 1, 24, 20)).diagonal().reshape(24, 20)
    assert float(variance.max()) == pytest.approx(float(samples.square().mean()), rel=1e-10)
    assert float(variance[-1].max()) < 0.5 * float(variance.max())
