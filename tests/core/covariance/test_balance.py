from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.core.covariance.operators import OperatorTests, dense, relative
from tests.core.numerics import order, random
from xvar.core.covariance import Covariance, Diagonal, Helmholtz, Matern
from xvar.core.covariance.balance import STAGGERINGS, Geostrophic
from xvar.core.dynamics import trajectory
from xvar.core.grid import BASINS, Grid
from xvar.core.models.shallow_water import ShallowWater

CPU = torch.device("cpu")
GRID = Grid((7, 6), (20e3, 25e3))


class TestClosed(OperatorTests):
    shape = (3, 3, 7, 6)

    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        error = Geostrophic(Matern(0.1, 60e3, 2), Matern(0.1, 60e3), beta=2e-11)
        return error.bind(GRID, dtype=dtype, device=device)


class TestChannel(OperatorTests):
    shape = (3, 3, 7, 6)

    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        error = Geostrophic(Matern(0.1, 60e3, 3), Diagonal(0.1), staggering="A", edges="channel")
        return error.bind(GRID, dtype=dtype, device=device)


class TestPeriodic(OperatorTests):
    """With a residual whose control is larger than its state, and whose inverse is iterative."""

    iterative = True
    shape = (3, 3, 7, 6)

    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        error = Geostrophic(Matern(0.1, 60e3, 2, edges="periodic"), Helmholtz(0.1, 30e3, 0.1, edges="free"))
        return error.bind(Grid((7, 6), (20e3, 25e3), edges="periodic"), dtype=dtype, device=device)


class TestDeviationForEachWindow(OperatorTests):
    """Over an island and on a grid of many lengths; each window has a deviation of its own."""

    shape = (3, 3, 7, 6)

    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        water = torch.ones(7, 6, dtype=torch.bool)
        water[2:4, 3] = False
        metric = 20e3 * (1 + 0.2 * torch.rand(2, 7, 6, generator=torch.Generator().manual_seed(0)))
        grid = Grid((7, 6), (20e3, 20e3), metric, water)
        error = Geostrophic(Matern(torch.tensor([[[[0.2]]]]), 60e3, 2), Diagonal(0.1))
        return error.bind(grid, dtype=dtype, device=device)

    def test_each_window_its_own(self) -> None:
        std = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64).view(3, 1, 1, 1)
        operator = Geostrophic(Matern(std, 60e3, 2), Diagonal(0.1)).bind(GRID, dtype=torch.float64)
        x, windows = self.draw(0), torch.tensor([2, 0])
        assert torch.equal(operator.select(windows).apply(x[windows]), operator.apply(x)[windows])


@pytest.mark.parametrize("edges", BASINS)
@pytest.mark.parametrize("staggering", STAGGERINGS)
def test_adjoint_of_the_balance(edges: Any, staggering: Any) -> None:
    balance = Geostrophic(Diagonal(1.0), Diagonal(1.0), edges=edges, staggering=staggering).balance(
        GRID, dtype=torch.float64
    )
    forward = dense(balance, (1, 1, 7, 6))
    assert relative(dense(balance.transpose, (1, 2, 7, 6)).T, forward) < 1e-15


@pytest.mark.parametrize("staggering", STAGGERINGS)
def test_the_balance_is_geostrophic_to_second_order(staggering: Any) -> None:
    length, gravity, f, beta = 800e3, 9.81, 1e-4, 2e-11
    errors: dict[str, list[float]] = {"u": [], "v": []}
    counts = (24, 48, 96)
    for count in counts:
        spacing = length / count
        y = ((torch.arange(count, dtype=torch.float64) + 0.5) * spacing)[:, None]
        x = (torch.arange(count, dtype=torch.float64) + 0.5) * spacing
        k = 2 * math.pi / length

        def height(x: Tensor, y: Tensor, k: float = k) -> Tensor:
            return torch.sin(k * (x + 2 * y)) + torch.cos(2 * k * x - k * y)

        grid = Grid((count, count), (spacing, spacing))
        error = Geostrophic(Diagonal(1.0), Diagonal(1.0), f, beta, gravity, staggering, "channel")
        found = error.balance(grid, dtype=torch.float64)(height(x, y)[None, None])[0]
        half = spacing / 2 if staggering == "C" else 0.0
        for name, (at_x, at_y), part in (("u", (x + half, y), found[0]), ("v", (x, y + half), found[1])):
            at_x, at_y = (p.clone().requires_grad_() for p in torch.broadcast_tensors(at_x, at_y))
            slope = torch.autograd.grad(height(at_x, at_y).sum(), at_y if name == "u" else at_x)[0]
            parameter = f + beta * (at_y.detach() - length / 2)
            expected = (-1 if name == "u" else 1) * gravity / parameter * slope
            inner = slice(2, -2)
            errors[name].append(float((part - expected)[inner].square().mean().sqrt()))
    for name in errors:
        assert order([1 / count for count in counts], errors[name]) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("staggering", STAGGERINGS)
@pytest.mark.parametrize("edges", BASINS)
def test_the_balance_by_hand(edges: Any, staggering: Any) -> None:
    """Point by point, over an island and cells of many lengths; f varies."""
    rows, columns, coriolis, beta, gravity = 7, 6, 9e-5, 2e-11, 9.7
    water = torch.ones(rows, columns, dtype=torch.bool)
    water[2:4, 2] = False
    dy, dx = metric = 20e3 * (1 + torch.rand((2, rows, columns), generator=torch.Generator().manual_seed(1)).double())
    grid = Grid((rows, columns), (20e3, 20e3), metric=metric, water=water)
    height = random((1, 1, rows, columns), 2)
    around_y, around_x = edges == "periodic", edges != "closed"

    def near(j: int, i: int) -> tuple[int, int]:
        """The cell of these indices; beyond a wall the last is repeated."""
        return (
            j % rows if around_y else min(max(j, 0), rows - 1),
            i % columns if around_x else min(max(i, 0), columns - 1),
        )

    def wet(j: int, i: int) -> bool:
        inside = (around_y or 0 <= j < rows) and (around_x or 0 <= i < columns)
        return inside and bool(water[near(j, i)])

    def along_y(j: int, i: int) -> float:
        j, i = near(j, i)
        return float(height[0, 0][near(j + 1, i)] - height[0, 0][near(j - 1, i)]) / 2

    def along_x(j: int, i: int) -> float:
        j, i = near(j, i)
        return float(height[0, 0][near(j, i + 1)] - height[0, 0][near(j, i - 1)]) / 2

    lengths = dy.mean(1)
    expected = torch.zeros(1, 2, rows, columns, dtype=torch.float64)
    for j in range(rows):
        north = float(lengths[:j].sum() + lengths[j] / 2 - lengths.sum() / 2)
        for i in range(columns):
            east, above = ((j, i), (j, i)) if staggering == "A" else ((j, i + 1), (j + 1, i))
            if wet(j, i) and wet(*east):
                slope = (along_y(j, i) + along_y(*east)) / float(dy[j, i] + dy[near(*east)])
                expected[0, 0, j, i] = -gravity * slope / (coriolis + beta * north)
            if wet(j, i) and wet(*above):
                slope = (along_x(j, i) + along_x(*above)) / float(dx[j, i] + dx[near(*above)])
                shift = 0.0 if staggering == "A" else float(lengths[j]) / 2
                expected[0, 1, j, i] = gravity * slope / (coriolis + beta * (north + shift))
    error = Geostrophic(Diagonal(0.1), Diagonal(0.1), coriolis, beta, gravity, staggering, edges)
    torch.testing.assert_close(error.balance(grid, dtype=torch.float64)(height), expected, rtol=1e-12, atol=1e-9)


def test_on_the_c_grid_the_balanced_flow_has_no_divergence_nor_leaves_the_box() -> None:
    for edges in BASINS:
        u, v = Geostrophic(Diagonal(1.0), Diagonal(1.0), edges=edges).balance(GRID, dtype=torch.float64)(
            random((1, 1, 7, 6), 0)
        )[0]
        spread = (u - u.roll(1, -1)) / 25e3 + (v - v.roll(1, -2)) / 20e3
        inner = spread if edges == "periodic" else spread[1:-1, 1:-1]
        assert float(inner.abs().max()) < 1e-12 * float(u.abs().max()) / 20e3 * 1e3
        if edges == "closed":
            assert float(u[:, -1].abs().max()) == float(v[-1].abs().max()) == 0


def test_the_stated_variances() -> None:
    """Of the height, and of the velocity: that of the slope of the height (g / f)² 2 sigma² / D² and the residual's."""
    std, length, residual = 0.05, 60e3, 0.05
    grid = Grid((60, 60), (5e3, 5e3), edges="periodic")
    operator = Geostrophic(Matern(std, length, 3), Diagonal(residual)).bind(grid, dtype=torch.float64)
    sample = operator.sample((200, 3, 60, 60), torch.Generator().manual_seed(0))
    assert float(sample[:, 0].square().mean().sqrt()) == pytest.approx(std, rel=0.05)
    # Daley's length D is that of the curvature at the origin, -laplacian c = 2 / D²: one over D² along each axis.
    expected = math.hypot(9.81 / 1e-4 * std / length, residual)
    for component in (1, 2):
        assert float(sample[:, component].square().mean().sqrt()) == pytest.approx(expected, rel=0.05)


def test_a_balanced_increment_makes_no_gravity_waves() -> None:
    """A raised point of height: without balance most of its energy runs off as waves."""
    grid = Grid((32, 32), (20e3, 20e3), edges="periodic")
    impulse = torch.zeros(1, 3, 32, 32, dtype=torch.float64)
    impulse[0, 0, 16, 16] = 1.0
    model = ShallowWater(20.0, edges="periodic").bind(grid, dtype=torch.float64, device=CPU)
    spread = {}
    for name, factor in (("balanced", 1.0), ("alone", 0.0)):
        error = Geostrophic(Matern(0.02, 150e3, 3), Diagonal(1e-4))
        flow = error.bind(grid, dtype=torch.float64).apply(impulse)
        flow[:, 1:] *= factor
        states = trajectory(model, {"flow": flow}, [model.step] * 20)
        heights = torch.stack([state["flow"][0, 0, 16, 16] for state in states])
        spread[name] = float(heights.std() / heights[0])
    assert spread["balanced"] < 0.02
    assert spread["alone"] > 0.2


def test_a_basin_is_closed_by_default() -> None:
    height = random((2, 1, 9, 7), 0)
    for edges, stated in (("free", "closed"), ("periodic", "periodic")):
        grid = Grid((9, 7), (30e3, 25e3), edges=edges)
        found, expected = (
            Geostrophic(Diagonal(0.1), Diagonal(0.1), edges=said).balanced(height, grid) for said in (None, stated)
        )
        assert torch.equal(found, expected)


@pytest.mark.parametrize(("dtype", "digits"), [(torch.float64, 1e-15), (torch.float32, 1e-6)])
def test_currents_of_a_draw_are_those_in_balance_with_its_height(dtype: torch.dtype, digits: float) -> None:
    """With a residual of zero, in the precision of the operator."""
    error = Geostrophic(Matern(0.1, 60e3, 2), Diagonal(0.0))
    state = error.bind(GRID, dtype=dtype).sample((2, 3, 7, 6), torch.Generator().manual_seed(0))
    assert relative(state, error.balanced(state[:, :1], GRID)) < digits
    assert state.dtype == dtype


def test_the_balance_has_the_device_of_the_height() -> None:
    height = torch.empty(2, 1, 7, 6, device="meta")
    found = Geostrophic(Diagonal(0.1), Diagonal(0.1)).balanced(height, GRID)
    assert (found.device.type, found.dtype, found.shape) == ("meta", torch.float32, (2, 3, 7, 6))
