from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.core.covariance.operators import OperatorTests, dense
from xvar.core.covariance import Covariance, Matern
from xvar.core.grid import Grid

GRID = Grid((9, 7), (900.0, 1200.0))
EDGES = ("free", "zero", "appended_zero", "periodic")


class TestFree(OperatorTests):
    exact_inverse_hessian = False  # a scale for each point

    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        return Matern(0.3, 2500.0, smoothness=1).bind(GRID, dtype=dtype, device=device)


class TestSmooth(OperatorTests):
    exact_inverse_hessian = False  # a scale for each point

    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        return Matern(0.3, 2500.0, smoothness=3, edges="free").bind(GRID, dtype=dtype, device=device)


class TestZero(OperatorTests):
    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        return Matern(0.3, 2500.0, edges="zero").bind(GRID, dtype=dtype, device=device)


class TestPeriodic(OperatorTests):
    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        return Matern(0.3, 2500.0, edges="periodic").bind(GRID, dtype=dtype, device=device)


class TestLargerThanAMatrix(OperatorTests):
    """One axis by a matrix, the other by Fourier transforms."""

    exact_inverse_hessian = False

    @pytest.fixture(autouse=True)
    def _small_matrices(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("xvar.core.covariance.transform.LARGEST_MATRIX", 8)

    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        return Matern(0.3, 2500.0).bind(GRID, dtype=dtype, device=device)


class TestFieldOfDeviations(OperatorTests):
    exact_inverse_hessian = False  # a scale for each point

    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        std = torch.linspace(0.5, 2, 2 * 9 * 7, dtype=torch.float64).reshape(2, 9, 7)
        return Matern(std, 2500.0).bind(GRID, dtype=dtype, device=device)


class TestDeviationForEachWindow(OperatorTests):
    """The mixin's batches have their own sizes, so every window gets the same number here."""

    exact_inverse_hessian = False

    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        return Matern(torch.tensor([[[[0.7]]]]), 2500.0).bind(GRID, dtype=dtype, device=device)

    def test_each_window_its_own(self) -> None:
        std = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64).reshape(3, 1, 1, 1)
        operator = Matern(std, 2500.0).bind(GRID, dtype=torch.float64)
        x = self.draw(0)
        torch.testing.assert_close(
            operator.apply(x), Matern(1.0, 2500.0).bind(GRID, dtype=torch.float64).apply(x) * std**2
        )
        windows = torch.tensor([2, 0])
        assert torch.equal(operator.select(windows).apply(x[windows]), operator.apply(x)[windows])


@pytest.mark.parametrize("edges", EDGES)
@pytest.mark.parametrize("smoothness", [1, 2, 4])
def test_the_variance_at_every_point(edges: str, smoothness: int) -> None:
    operator = Matern(0.3, 3000.0, smoothness, edges=edges).bind(GRID, dtype=torch.float64)
    variance = dense(operator.apply, (1, 1, 9, 7)).diagonal()
    if edges in ("free", "periodic"):
        torch.testing.assert_close(variance, torch.full((63,), 0.09, dtype=torch.float64), rtol=1e-12, atol=0)
    else:
        assert float(variance.max()) == pytest.approx(0.09, rel=1e-12)


def bessel_k(order: int, z: Tensor) -> Tensor:
    """Modified Bessel function of the second kind, by its integral."""
    t = torch.linspace(0, 20, 20001, dtype=torch.float64)
    integrand = torch.exp(-z[:, None] * torch.cosh(t)) * torch.cosh(order * t)
    return torch.trapezoid(integrand, t)


def correlation(distance: Tensor, scale: float, smoothness: int) -> Tensor:
    z = distance / scale
    return 2 ** (1 - smoothness) / math.gamma(smoothness) * z**smoothness * bessel_k(smoothness, z)


def dirac(operator: Covariance, shape: tuple[int, int]) -> Tensor:
    ny, nx = shape
    field = torch.zeros(1, 1, ny, nx, dtype=torch.float64)
    field[0, 0, ny // 2, nx // 2] = 1
    return operator.apply(field)[0, 0]


@pytest.mark.parametrize("smoothness", [2, 3, 5])
@pytest.mark.parametrize("spacing", [(1000.0, 1000.0), (1500.0, 1000.0)])
def test_dirac_response_has_the_stated_variance_and_daley_length(smoothness: int, spacing: tuple[float, float]) -> None:
    shape, length = (97, 97), 8000.0
    found = dirac(Matern(0.3, length, smoothness).bind(Grid(shape, spacing), dtype=torch.float64), shape)
    centre = float(found[48, 48])
    assert centre == pytest.approx(0.09, rel=0.05)
    along_y = (2 * centre - float(found[47, 48] + found[49, 48])) / spacing[0] ** 2
    along_x = (2 * centre - float(found[48, 47] + found[48, 49])) / spacing[1] ** 2
    assert math.sqrt(2 * centre / (along_y + along_x)) == pytest.approx(length, rel=0.05)


@pytest.mark.parametrize("smoothness", [1, 2, 3])
def test_the_correlation_is_that_of_matern(smoothness: int) -> None:
    shape, length = (129, 129), 8000.0
    found = dirac(Matern(1.0, length, smoothness).bind(Grid(shape, (1000.0, 1000.0)), dtype=torch.float64), shape)
    scale = length if smoothness == 1 else length / math.sqrt(2 * smoothness - 2)
    distance = torch.arange(1, 30, dtype=torch.float64) * 1000
    assert float((found[64, 65:94] - correlation(distance, scale, smoothness)).abs().max()) < 0.05
    diagonal = found.diagonal()[65:94]
    assert float((diagonal - correlation(distance * math.sqrt(2), scale, smoothness)).abs().max()) < 0.05


def test_a_length_without_daley_is_where_the_correlation_is_0_6() -> None:
    assert float(correlation(torch.tensor([1.0]), 1.0, 1)) == pytest.approx(0.602, abs=1e-3)


@pytest.mark.parametrize("smoothness", [1, 2, 3])
def test_the_filter_does_not_depend_on_resolution(smoothness: int) -> None:
    matern = Matern(0.3, 12e3, smoothness)
    coarse = dirac(matern.bind(Grid((65, 65), (2000.0, 2000.0)), dtype=torch.float64), (65, 65))
    fine = dirac(matern.bind(Grid((129, 129), (1000.0, 1000.0)), dtype=torch.float64), (129, 129))
    assert float((fine[64, 64::2][:20] - coarse[32, 32:][:20]).abs().max()) < 0.05 * 0.09


@pytest.mark.parametrize("smoothness", [1, 2])
def test_anisotropic_spacing_is_isotropic_in_metres(smoothness: int) -> None:
    """A hundredth of a degree at 48 degrees north."""
    grid = Grid((91, 121), (1110.0, 740.0))
    found = dirac(Matern(1.0, 9000.0, smoothness).bind(grid, dtype=torch.float64), grid.shape)
    along_y, along_x = found[45:65:2, 60], found[45, 60:90:3]
    assert float((along_y - along_x).abs().max()) < 0.05
