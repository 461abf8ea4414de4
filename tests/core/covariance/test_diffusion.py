from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.core.covariance.operators import OperatorTests, dense, relative
from tests.core.covariance.test_matern import correlation, dirac
from xvar.core.covariance import Covariance, Diffusion, Matern
from xvar.core.covariance.diffusion import ERROR, DiffusionInverse, DiffusionStencil, inverse_power_diagonal
from xvar.core.grid import Grid


def coast(ny: int, nx: int) -> Tensor:
    """Water with a cape from the north, an island and a lake."""
    water = torch.ones(ny, nx, dtype=torch.bool)
    water[: ny // 2, nx // 2] = False
    water[2 * ny // 3 : 2 * ny // 3 + 2, 1 : 2 + nx // 5] = False
    water[-3:, -3:] = False
    water[-1, -1] = True
    return water


def varying(ny: int, nx: int) -> Tensor:
    """Spacing (dy, dx) that grows by a half along x, and by a fifth along y."""
    dy = 900 * (1 + 0.2 * torch.linspace(0, 1, ny, dtype=torch.float64)[:, None].expand(ny, nx))
    dx = 1200 * (1 + 0.5 * torch.linspace(0, 1, nx, dtype=torch.float64).expand(ny, nx))
    return torch.stack((dy, dx))


class TestOpen(OperatorTests):
    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        return Diffusion(0.3, 2600.0, 4).bind(Grid((9, 7), (900.0, 1200.0)), dtype=dtype, device=device)


class TestCoast(OperatorTests):
    water = coast(9, 7)

    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        grid = Grid((9, 7), (900.0, 1200.0), water=self.water)
        return Diffusion(0.3, 2600.0, 2).bind(grid, dtype=dtype, device=device)


class TestMetric(OperatorTests):
    water = coast(9, 7)

    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        grid = Grid((9, 7), (1000.0, 1500.0), metric=varying(9, 7), water=self.water)
        return Diffusion(0.3, 3700.0, 4).bind(grid, dtype=dtype, device=device)


class TestPeriodic(OperatorTests):
    water = coast(9, 7)

    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        grid = Grid((9, 7), (900.0, 1200.0), water=self.water, edges="periodic")
        return Diffusion(0.3, 2600.0, 4).bind(grid, dtype=dtype, device=device)


class TestZero(OperatorTests):
    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        std = torch.linspace(0.5, 2, 2 * 9 * 7, dtype=torch.float64).reshape(2, 9, 7)
        return Diffusion(std, 2600.0, 2).bind(Grid((9, 7), (900.0, 1200.0), edges="zero"), dtype=dtype, device=device)


@pytest.mark.parametrize("edges", ["free", "zero", "periodic"])
@pytest.mark.parametrize("order", [2, 4])
def test_without_land_it_is_matern(edges: str, order: int) -> None:
    grid = Grid((12, 10), (900.0, 1200.0), edges=edges)
    found = dense(Diffusion(0.3, 3000.0, order).bind(grid, dtype=torch.float64).apply, (1, 1, 12, 10))
    expected = dense(Matern(0.3, 3000.0, order - 1).bind(grid, dtype=torch.float64).apply, (1, 1, 12, 10))
    assert relative(found, expected) < order * ERROR


@pytest.mark.parametrize("edges", ["free", "zero", "periodic"])
def test_the_stencil_is_bounded_and_inverted(edges: str) -> None:
    grid = Grid((9, 7), (900.0, 1200.0), metric=varying(9, 7), water=coast(9, 7), edges=edges)
    stencil = DiffusionStencil(grid, 2500.0)
    inverse = DiffusionInverse(stencil, dtype=torch.float64, device=None)
    matrix = dense(inverse.operate, (1, 1, 9, 7))
    assert relative(matrix.T, matrix) < 1e-14
    assert stencil.largest == pytest.approx(float(matrix.abs().sum(1).max()), rel=1e-14)  # Gershgorin's circles
    eigenvalues = torch.linalg.eigvalsh(matrix)
    assert float(eigenvalues[0]) > 1 - 1e-12
    assert float(eigenvalues[-1]) <= stencil.largest
    product = matrix @ dense(inverse.invert, (1, 1, 9, 7))
    assert float((torch.linalg.eigvals(product).real - 1).abs().max()) <= ERROR
    identity = dense(lambda x: inverse.revert(inverse.invert(x)), (1, 1, 9, 7))
    assert relative(identity, torch.eye(63, dtype=torch.float64)) < 1e-13


@pytest.mark.parametrize("edges", ["free", "zero", "periodic"])
def test_the_stencil_by_hand(edges: str) -> None:
    """Face by face: its width over the distance of its points, both the means of the cells at its sides."""
    rows, columns, length = 6, 5, 2500.0
    metric = 900 * (1 + torch.rand((2, rows, columns), generator=torch.Generator().manual_seed(1)).double())
    water = torch.ones(rows, columns, dtype=torch.bool)
    water[2, 1] = water[5, 4] = False
    area = metric[0] * metric[1]
    fluxes = torch.zeros(rows * columns, rows * columns, dtype=torch.float64)
    for j in range(rows):
        for i in range(columns):
            here = j * columns + i
            for axis, (m, n) in enumerate(((j + 1, i), (j, i + 1))):
                along, across = metric[axis], metric[1 - axis]
                beyond = m == rows or n == columns
                if beyond and edges == "zero" and water[j, i]:
                    fluxes[here, here] += across[j, i] / along[j, i]
                if (j, i)[axis] == 0 and edges == "zero" and water[j, i]:
                    fluxes[here, here] += across[j, i] / along[j, i]
                m, n = m % rows, n % columns
                if (beyond and edges != "periodic") or not (water[j, i] and water[m, n]):
                    continue
                there = m * columns + n
                conductance = (across[j, i] + across[m, n]) / (along[j, i] + along[m, n])
                for point, other in ((here, there), (there, here)):
                    fluxes[point, point] += conductance
                    fluxes[point, other] -= conductance
    root = area.flatten().rsqrt()
    expected = torch.eye(rows * columns, dtype=torch.float64) + length**2 * root[:, None] * fluxes * root
    grid = Grid((rows, columns), (900.0, 900.0), metric=metric, water=water, edges=edges)  # type: ignore[arg-type]
    inverse = DiffusionInverse(DiffusionStencil(grid, length), dtype=torch.float64, device=None)
    torch.testing.assert_close(dense(inverse.operate, (1, 1, rows, columns)), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("edges", ["free", "periodic"])
@pytest.mark.parametrize("order", [2, 4, 6])
def test_the_variance_by_sweeps_is_that_of_the_matrix(edges: str, order: int, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Grid((40, 37), (900.0, 1200.0), metric=varying(40, 37), water=coast(40, 37), edges=edges)
    stencil = DiffusionStencil(grid, 1500.0)
    expected = inverse_power_diagonal(stencil, order, 0)
    monkeypatch.setattr("xvar.core.covariance.diffusion.LARGEST_DENSE", 0)
    if edges == "free":
        torch.testing.assert_close(inverse_power_diagonal(stencil, order, 0), expected, rtol=1e-10, atol=0)
    monkeypatch.setattr("xvar.core.covariance.diffusion.STRIP", 8)
    margin = math.ceil((3 + order / 2) * 1500 / 900)
    torch.testing.assert_close(inverse_power_diagonal(stencil, order, margin), expected, rtol=5e-3, atol=0)


@pytest.mark.parametrize("order", [2, 4])
def test_the_variance_at_every_point_of_water(order: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xvar.core.covariance.diffusion.LARGEST_DENSE", 0)
    monkeypatch.setattr("xvar.core.covariance.diffusion.STRIP", 10)
    water = coast(30, 26)
    grid = Grid((30, 26), (1000.0, 1200.0), metric=varying(30, 26), water=water)
    operator = Diffusion(0.3, 5000.0, order).bind(grid, dtype=torch.float64)
    variance = dense(operator.apply, (1, 1, 30, 26)).diagonal().reshape(30, 26)
    assert float((variance[water] / 0.09 - 1).abs().max()) < 0.01
    assert float(variance[~water].abs().max()) == 0


@pytest.mark.parametrize("order", [4, 6])
@pytest.mark.parametrize("spacing", [(1000.0, 1000.0), (1500.0, 1000.0)])
def test_dirac_response_has_the_stated_variance_and_daley_length(order: int, spacing: tuple[float, float]) -> None:
    shape, length = (65, 65), 8000.0
    found = dirac(Diffusion(0.3, length, order).bind(Grid(shape, spacing), dtype=torch.float64), shape)
    centre = float(found[32, 32])
    assert centre == pytest.approx(0.09, rel=0.05)
    along_y = (2 * centre - float(found[31, 32] + found[33, 32])) / spacing[0] ** 2
    along_x = (2 * centre - float(found[32, 31] + found[32, 33])) / spacing[1] ** 2
    assert math.sqrt(2 * centre / (along_y + along_x)) == pytest.approx(length, rel=0.05)


@pytest.mark.parametrize("order", [2, 4])
def test_the_length_holds_in_true_metres(order: int) -> None:
    """With variable spacing the correlation is that of the true distance."""
    shape, length = (81, 81), 9000.0
    dx = (800 + 10 * torch.arange(81, dtype=torch.float64)).expand(81, 81)
    metric = torch.stack((torch.full_like(dx, 1000), dx))
    found = dirac(Diffusion(1.0, length, order).bind(Grid(shape, (1000.0, 1200.0), metric), dtype=torch.float64), shape)
    scale = length if order == 2 else length / 2
    between = (dx[0, 1:] + dx[0, :-1]) / 2
    east = between[40:60].cumsum(0)
    west = between[20:40].flip(0).cumsum(0)
    for along, distance in (
        (found[40, 41:61], east),
        (found[40, 20:40].flip(0), west),
        (found[41:61, 40], torch.arange(1, 21).double() * 1000),
    ):
        assert float((along - correlation(distance, scale, order - 1)).abs().max()) < 0.05


@pytest.mark.parametrize("order", [2, 4])
def test_the_filter_does_not_depend_on_resolution(order: int) -> None:
    diffusion = Diffusion(0.3, 12e3, order)
    coarse = dirac(diffusion.bind(Grid((45, 45), (2000.0, 2000.0)), dtype=torch.float64), (45, 45))
    fine = dirac(diffusion.bind(Grid((89, 89), (1000.0, 1000.0)), dtype=torch.float64), (89, 89))
    assert float((fine[44, 44::2][:20] - coarse[22, 22:][:20]).abs().max()) < 0.05 * 0.09


def test_nothing_leaks_through_a_wall() -> None:
    water = torch.ones(31, 31, dtype=torch.bool)
    water[:, 16] = False
    grid = Grid((31, 31), (1000.0, 1000.0), water=water)
    operator = Diffusion(1.0, 6000.0).bind(grid, dtype=torch.float64)
    found = dirac(operator, (31, 31))
    assert float(found[15, 15]) == pytest.approx(1, rel=0.01)
    assert float(found[:, 16:].abs().max()) == 0
    # Through a gap it comes, but weaker than over open water.
    water[13, 16] = True
    through = dirac(Diffusion(1.0, 6000.0).bind(grid, dtype=torch.float64), (31, 31))
    over = dirac(Diffusion(1.0, 6000.0).bind(Grid((31, 31), (1000.0, 1000.0)), dtype=torch.float64), (31, 31))
    assert 0 < float(through[15, 17]) < 0.8 * float(over[15, 17])


def test_a_diagonal_coast_is_a_wall() -> None:
    """Points that touch at a corner only are not neighbours."""
    water = ~torch.eye(21, dtype=torch.bool)
    operator = Diffusion(1.0, 6000.0).bind(Grid((21, 21), (1000.0, 1000.0), water=water), dtype=torch.float64)
    field = torch.zeros(1, 1, 21, 21, dtype=torch.float64)
    field[0, 0, 9, 10] = 1
    assert float(operator.apply(field)[0, 0].tril().abs().max()) == 0


def test_each_window_its_own_deviation() -> None:
    std = torch.tensor([0.5, 3.0], dtype=torch.float64).reshape(2, 1, 1, 1)
    grid = Grid((9, 7), (900.0, 1200.0))
    operator = Diffusion(std, 2600.0).bind(grid, dtype=torch.float64)
    x = torch.randn(2, 1, 9, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        operator.apply(x), Diffusion(1.0, 2600.0).bind(grid, dtype=torch.float64).apply(x) * std**2
    )
    assert torch.equal(operator.select(torch.tensor([1])).apply(x[1:]), operator.apply(x)[1:])


def test_only_the_spacing_of_water_limits_the_length() -> None:
    metric = torch.full((2, 3, 3), 1e3)
    metric[:, 0, 0] = 1e5
    water = torch.ones(3, 3, dtype=torch.bool)
    water[0, 0] = False
    Diffusion(1.0, 3e3).bind(Grid((3, 3), (1e3, 1e3), metric, water))
