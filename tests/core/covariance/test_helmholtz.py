from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.core.covariance.operators import OperatorTests
from xvar.core.covariance import Covariance, Helmholtz, Matern
from xvar.core.grid import Grid

GRID = Grid((9, 7), (900.0, 1200.0))
PERIODIC = Grid((48, 40), (900.0, 1200.0), edges="periodic")


class TestFree(OperatorTests):
    iterative = True

    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        return Helmholtz(0.6, 1500.0, 0.4).bind(GRID, dtype=dtype, device=device)


class TestSmooth(OperatorTests):
    iterative = True

    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        return Helmholtz(0.6, 1500.0, 0.4, smoothness=2).bind(GRID, dtype=dtype, device=device)


class TestPeriodic(OperatorTests):
    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        return Helmholtz(0.6, 2500.0, 0.4, edges="periodic").bind(GRID, dtype=dtype, device=device)


def covariance_with_centre(operator: Covariance, grid: Grid, component: int) -> Tensor:
    field = torch.zeros(1, 2, *grid.shape, dtype=torch.float64)
    field[0, component, grid.shape[0] // 2, grid.shape[1] // 2] = 1
    return operator.apply(field)[0]


@pytest.mark.parametrize("ratio", [0.2, 1.0])
@pytest.mark.parametrize("edges", ["free", "periodic"])
def test_the_stated_variance_and_mean(ratio: float, edges: str) -> None:
    operator = Helmholtz(0.6, 7000.0, 0.4, potential_ratio=ratio, edges=edges).bind(PERIODIC, dtype=torch.float64)
    for component in (0, 1):
        found = covariance_with_centre(operator, PERIODIC, component)
        assert float(found[component, 24, 20]) == pytest.approx(0.6**2 + 0.4**2, rel=0.05)
    if edges == "periodic":
        uniform = torch.ones(1, 2, 48, 40, dtype=torch.float64) / (48 * 40)
        assert float((uniform * operator.apply(uniform)).sum()) == pytest.approx(2 * 0.4**2)


def test_the_variance_is_the_same_at_every_point_up_to_the_edges() -> None:
    operator = Helmholtz(0.6, 1500.0, 0.4).bind(GRID, dtype=torch.float64)
    units = torch.eye(126, dtype=torch.float64).reshape(126, 2, 9, 7)
    variance = (units * operator.apply(units)).flatten(1).sum(1).reshape(2, 63)
    assert float((variance - variance[:, :1]).abs().max()) < 1e-12


def differences(w: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Divergence and curl on a periodic grid: forward for the one, its transpose for the other."""
    dy, dx = grid.spacing
    u, v = w[:, 0], w[:, 1]
    divergence = (u.roll(-1, -1) - u) / dx + (v.roll(-1, -2) - v) / dy
    curl = (v - v.roll(1, -1)) / dx - (u - u.roll(1, -2)) / dy
    return divergence, curl


def test_the_ratio_is_that_of_divergence_to_vorticity() -> None:
    for ratio in (1e-12, 0.2, 1.0):
        operator = Helmholtz(0.6, 7000.0, 0.4, potential_ratio=ratio).bind(PERIODIC, dtype=torch.float64)
        sample = operator.sample((200, 2, 48, 40), torch.Generator().manual_seed(0))
        divergence, curl = differences(sample, PERIODIC)
        assert float((divergence**2).mean() / (curl**2).mean()) == pytest.approx(ratio, rel=0.05, abs=1e-11)


def test_with_equal_powers_the_components_are_those_of_matern() -> None:
    grid = Grid((48, 48), (1000.0, 1000.0), edges="periodic")
    operator = Helmholtz(0.6, 5000.0, 1e-9, potential_ratio=1.0).bind(grid, dtype=torch.float64)
    found = covariance_with_centre(operator, grid, 0)
    expected = (
        Matern(0.6, 5000.0)
        .bind(grid, dtype=torch.float64)
        .apply(torch.nn.functional.one_hot(torch.tensor(24 * 48 + 24), 48 * 48).double().reshape(1, 1, 48, 48))[0, 0]
    )
    # Without the mean of the domain, which Matérn's has.
    torch.testing.assert_close(
        found[0] / found[0, 24, 24], (expected - expected.mean()) / (expected - expected.mean())[24, 24]
    )
    assert float(found[1].abs().max()) < 1e-12


def test_little_comes_around_free_edges() -> None:
    grid = Grid((64, 64), (1000.0, 1000.0))
    operator = Helmholtz(0.6, 4000.0, 1e-6).bind(grid, dtype=torch.float64)
    field = torch.zeros(1, 2, 64, 64, dtype=torch.float64)
    field[0, :, 32, 0] = 1
    found = operator.apply(field)[0]
    assert float(found[:, :, -1].abs().max()) < 0.1 * 0.36
    around = Helmholtz(0.6, 4000.0, 1e-6, edges="periodic").bind(grid, dtype=torch.float64).apply(field)[0]
    assert float(around[:, :, -1].abs().max()) > 0.8 * 0.36
