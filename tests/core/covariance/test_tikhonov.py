from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from tests.core.covariance.operators import OperatorTests, dense, relative
from tests.core.numerics import random
from xvar.core.covariance import Covariance, Tikhonov
from xvar.core.covariance.homogeneous import divergence_penalty
from xvar.core.covariance.spectral import PeriodicVectorCovariance, SpectralCovariance
from xvar.core.grid import Grid

GRID = Grid((9, 7), (900.0, 1200.0))
EVEN = Grid((8, 6), (900.0, 1200.0))
EDGES = ("free", "zero", "appended_zero", "periodic")


def gradient_penalty(velocity: Tensor, grid: Grid, weight: float, edges: str) -> Tensor:
    """The sum over all forward differences, with zeros or the opposite edge appended."""
    total = torch.zeros(len(velocity), dtype=velocity.dtype)
    for dim, spacing in zip((-2, -1), grid.spacing, strict=True):
        first, last = velocity.narrow(dim, 0, 1), velocity.narrow(dim, -1, 1)
        before = [torch.zeros_like(first)] if edges == "zero" else []
        after = {"free": [], "periodic": [first]}.get(edges, [torch.zeros_like(last)])
        total += (torch.cat([*before, velocity, *after], dim).diff(dim=dim) / spacing).square().flatten(1).sum(1)
    return 0.5 * weight * total


def specification(edges: str, **weights: float) -> Tikhonov:
    weights = {"gradient": 2e6, "curvature": 3e11} | weights
    return Tikhonov(**weights, mean_std=3.0 if edges in ("free", "periodic") else None, edges=edges)


class TestFree(OperatorTests):
    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        return specification("free").bind(GRID, dtype=dtype, device=device)


class TestZero(OperatorTests):
    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        return specification("zero").bind(GRID, dtype=dtype, device=device)


class TestAppendedZero(OperatorTests):
    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        return specification("appended_zero").bind(GRID, dtype=dtype, device=device)


class TestPeriodic(OperatorTests):
    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        return specification("periodic").bind(GRID, dtype=dtype, device=device)


class TestPeriodicWithDivergence(OperatorTests):
    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        return specification("periodic", divergence=5e7).bind(GRID, dtype=dtype, device=device)


class TestPeriodicWithDivergenceEven(OperatorTests):
    shape = (3, 2, 8, 6)

    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        return specification("periodic", divergence=5e7).bind(EVEN, dtype=dtype, device=device)


@pytest.mark.parametrize("edges", EDGES)
class TestByFourierTransforms(OperatorTests):
    """The branch for large grids, on a small one."""

    @pytest.fixture(autouse=True)
    def _no_matrices(self, monkeypatch: pytest.MonkeyPatch, edges: str) -> None:
        monkeypatch.setattr("xvar.core.covariance.transform.LARGEST_MATRIX", 0)
        self.edges = edges

    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        return specification(self.edges).bind(GRID, dtype=dtype, device=device)


def difference(points: int, spacing: float, edges: str) -> Tensor:
    """Explicit forward differences, (differences, points)."""
    inside = torch.zeros(points - 1, points, dtype=torch.float64)
    for i in range(points - 1):
        inside[i, i], inside[i, i + 1] = -1, 1
    first, last = (torch.zeros(1, points, dtype=torch.float64) for _ in range(2))
    if edges == "free":
        rows = [inside]
    elif edges == "zero":
        first[0, 0], last[0, -1] = 1, -1
        rows = [first, inside, last]
    elif edges == "appended_zero":
        last[0, -1] = -1
        rows = [inside, last]
    else:
        last[0, -1] -= 1
        last[0, 0] += 1
        rows = [inside, last]
    return torch.cat(rows) / spacing


def explicit_precision(tikhonov: Tikhonov, grid: Grid, edges: str) -> Tensor:
    """Inverse of B for (2, y, x) from matrices of forward differences."""
    (ny, nx), (dy, dx) = grid.shape, grid.spacing
    along_y = torch.kron(difference(ny, dy, edges), torch.eye(nx, dtype=torch.float64))
    along_x = torch.kron(torch.eye(ny, dtype=torch.float64), difference(nx, dx, edges))
    laplacian = along_y.T @ along_y + along_x.T @ along_x
    one = tikhonov.gradient * laplacian + tikhonov.curvature * laplacian @ laplacian
    if tikhonov.mean_std is not None:
        mean = torch.full((grid.size,), 1 / grid.size, dtype=torch.float64)
        one = one + torch.outer(mean, mean) / tikhonov.mean_std**2
    both = torch.block_diag(one, one)
    if edges == "periodic":
        divergence = torch.cat((along_x, along_y), dim=1)
        both = both + tikhonov.divergence * divergence.T @ divergence
    return both


@pytest.mark.parametrize("grid", [GRID, EVEN, Grid((1, 5), (1000.0, 800.0)), Grid((2, 2), (1000.0, 800.0))], ids=str)
@pytest.mark.parametrize("edges", EDGES)
@pytest.mark.parametrize("divergence", [0.0, 5e7])
def test_against_matrices_of_forward_differences(grid: Grid, edges: str, divergence: float) -> None:
    tikhonov = specification(edges, divergence=divergence)
    operator = tikhonov.bind(grid, dtype=torch.float64)
    expected = explicit_precision(tikhonov, grid, edges)
    shape = (1, 2, *grid.shape)
    assert relative(dense(operator.solve, shape), expected) < 1e-12
    assert relative(dense(operator.apply, shape) @ expected, torch.eye(2 * grid.size, dtype=torch.float64)) < 1e-9


@pytest.mark.parametrize("edges", EDGES)
@pytest.mark.parametrize("divergence", [0.0, 5e7])
def test_the_quadratic_form_and_the_penalties_are_the_sum_over_pixels(edges: str, divergence: float) -> None:
    tikhonov = specification(edges, divergence=divergence, curvature=0.0)
    operator = tikhonov.bind(GRID, dtype=torch.float64)
    w = torch.randn(3, 2, 9, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    if tikhonov.mean_std is not None:
        w = w - w.mean((-2, -1), keepdim=True)
    found = 0.5 * (w * operator.solve(w)).flatten(1).sum(1)
    found = found + sum(term(w) for term in tikhonov.penalties(GRID).values())
    expected = gradient_penalty(w, GRID, tikhonov.gradient, edges) + divergence_penalty(w, GRID, divergence, edges)
    assert relative(found, expected) < 1e-12
    exact = divergence == 0 or edges == "periodic"
    assert list(tikhonov.penalties(GRID)) == ([] if exact else ["divergence"])
    assert isinstance(operator, PeriodicVectorCovariance if exact and divergence else SpectralCovariance)


def test_the_papers_appended_row_and_column() -> None:
    """Differences written out: a zero row and column beyond the far edges, none before the near ones."""
    w = torch.randn(2, 2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    grid = Grid((4, 5), (900.0, 1200.0))
    gradient, divergence = torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    for i, j in itertools.product(range(4), range(5)):
        right = w[:, :, i, j + 1] if j < 4 else torch.zeros(2, 2)
        below = w[:, :, i + 1, j] if i < 3 else torch.zeros(2, 2)
        along_x, along_y = (right - w[:, :, i, j]) / 1200, (below - w[:, :, i, j]) / 900
        gradient += (along_x**2 + along_y**2).sum(1)
        divergence += (along_x[:, 0] + along_y[:, 1]) ** 2
    precision = Tikhonov(5e9, edges="appended_zero").bind(grid, dtype=torch.float64).solve(w)
    torch.testing.assert_close(0.5 * (w * precision).sum((1, 2, 3)), 2.5e9 * gradient)
    torch.testing.assert_close(divergence_penalty(w, grid, 5e6, "appended_zero"), 2.5e6 * divergence)


@pytest.mark.parametrize("edges", EDGES)
def test_penalties_keep_the_bits_of_a_window(edges: str) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    w = torch.randn(4, 2, 33, 29, generator=torch.Generator().manual_seed(0))
    together = divergence_penalty(w, GRID, 1e6, edges)
    assert together.shape == (4,)
    for k in range(4):
        assert torch.equal(divergence_penalty(w[k : k + 1], GRID, 1e6, edges)[0], together[k])
    torch.set_num_threads(threads)


def test_a_solid_rotation_has_no_divergence() -> None:
    y, x = torch.meshgrid(torch.arange(9.0) * 900, torch.arange(7.0) * 1200, indexing="ij")
    rotation = torch.stack((-y, x))[None].double()
    assert float(divergence_penalty(rotation, GRID, 1.0, "free")) == pytest.approx(0, abs=1e-20)
    expansion = torch.stack((x, y))[None].double()
    assert float(divergence_penalty(expansion, GRID, 1.0, "free")) == pytest.approx(0.5 * 8 * 6 * 4)


def test_the_mean_motion_has_the_stated_deviation() -> None:
    for edges in ("free", "periodic"):
        operator = specification(edges).bind(GRID, dtype=torch.float64)
        mean = torch.full((1, 1, 9, 7), 1 / 63, dtype=torch.float64)
        assert float((mean * operator.apply(mean)).sum()) == pytest.approx(9.0)


def response(tikhonov: Tikhonov, refinement: int) -> Tensor:
    """Covariance with the centre of a domain of 61.5 km, every 1.5 km along x."""
    grid = Grid((41 * refinement, 41 * refinement), (1500.0 / refinement, 1500.0 / refinement))
    # A point of the coarse grid is the mean over the fine points of its cell.
    cell = torch.zeros(1, 1, 41, 41, dtype=torch.float64)
    cell[0, 0, 20, 20] = 1
    fine = cell.repeat_interleave(refinement, -2).repeat_interleave(refinement, -1) / refinement**2
    covariance = tikhonov.bind(grid, dtype=torch.float64).apply(fine)
    return torch.nn.functional.avg_pool2d(covariance, refinement)[0, 0, 20, 20:]


@pytest.mark.parametrize(("gradient", "curvature"), [(0.0, 1.0), (1e-8, 1.0)])
def test_the_same_integral_at_every_resolution(gradient: float, curvature: float) -> None:
    tikhonov = Tikhonov(gradient, curvature, mean_std=3.0, pixel_area=1.0)
    coarse, fine = response(tikhonov, 1), response(tikhonov, 3)
    assert float(((fine - coarse).abs() / coarse[0]).max()) < 0.05
    # Weights that count pixels do not: nine times as many pixels are nine times the penalty.
    pixels = Tikhonov(1500.0**2 * gradient, 1500.0**2 * curvature, mean_std=3.0)
    torch.testing.assert_close(response(pixels, 1), coarse)
    assert float(response(pixels, 3)[0]) < 0.5 * float(coarse[0])


def test_anisotropic_spacing_is_isotropic_in_metres() -> None:
    tikhonov = Tikhonov(0.0, 1.0, mean_std=1e3, pixel_area=1.0, edges="free")
    grid = Grid((61, 31), (1000.0, 2000.0))
    dirac = torch.zeros(1, 1, 61, 31, dtype=torch.float64)
    dirac[0, 0, 30, 15] = 1
    covariance = tikhonov.bind(grid, dtype=torch.float64).apply(dirac)[0, 0]
    along_y, along_x = covariance[30:45:2, 15], covariance[30, 15:23]
    assert float(((along_y - along_x) / covariance[30, 15]).abs().max()) < 0.05


@pytest.mark.parametrize("truncation", [1.0, 0.5])
def test_waves_of_a_coarse_grid_are_embedded_in_a_fine_one(truncation: float) -> None:
    """The same motion up to the interpolation of cosines; None if it cannot be embedded."""
    prior = Tikhonov(gradient=1e6, curvature=1e12, mean_std=1.0, truncation=truncation, pixel_area=1e6)
    coarse, fine = (
        prior.bind(Grid(shape, spacing), dtype=torch.float64)
        for shape, spacing in (((24, 20), (2e3, 2e3)), ((48, 40), (1e3, 1e3)))
    )
    control = torch.zeros(coarse.control_shape((2, 1, 24, 20)), dtype=torch.float64)
    control[..., :3, :3] = random((2, 1, 3, 3), 5)
    embedded = fine.embed(coarse, control)
    assert embedded is not None
    assert embedded.shape == fine.control_shape((2, 1, 48, 40))
    means = torch.nn.functional.avg_pool2d(fine.sqrt(embedded), 2)
    assert relative(means, coarse.sqrt(control)) < 0.02
    for shape, spacing in (((47, 40), (1e3, 1e3)), ((48, 60), (1e3, 2e3 / 3)), ((12, 10), (4e3, 4e3))):
        assert prior.bind(Grid(shape, spacing), dtype=torch.float64).embed(coarse, control) is None
