from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.core.covariance.operators import OperatorTests
from tests.core.numerics import random
from xvar.core.covariance import Covariance, Diagonal, Matern
from xvar.core.covariance.balance import Geostrophic, Streamfunction
from xvar.core.grid import BASINS, Grid
from xvar.core.models.shallow_water import ShallowWater

CPU = torch.device("cpu")
GRID = Grid((7, 6), (20e3, 25e3))
M = Matern(1.0, 60e3, 2)


class TestClosed(OperatorTests):
    iterative = True
    shape = (3, 3, 7, 6)

    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        error = Streamfunction(Matern(0.1, 60e3, 2), Diagonal(0.1), Matern(0.3, 60e3), beta=2e-11)
        return error.bind(GRID, dtype=dtype, device=device)


class TestPeriodic(OperatorTests):
    iterative = True
    shape = (3, 3, 7, 6)

    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        error = Streamfunction(Matern(0.1, 60e3, 3), Diagonal(0.1), Diagonal(0.3))
        return error.bind(Grid((7, 6), (20e3, 25e3), edges="periodic"), dtype=dtype, device=device)


class TestIslandInAChannel(OperatorTests):
    """Over an island and on a grid of many lengths."""

    iterative = True
    shape = (3, 3, 7, 6)

    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        water = torch.ones(7, 6, dtype=torch.bool)
        water[2:4, 2] = False
        metric = 20e3 * (1 + 0.2 * torch.rand((2, 7, 6), generator=torch.Generator().manual_seed(0)).double())
        grid = Grid((7, 6), (20e3, 20e3), metric=metric, water=water)
        error = Streamfunction(Matern(0.1, 60e3), Diagonal(0.1), Diagonal(0.3), edges="channel")
        return error.bind(grid, dtype=dtype, device=device)


@pytest.mark.parametrize("conserves", ["energy", "enstrophy"])
@pytest.mark.parametrize("edges", BASINS)
def test_its_flows_are_steady_at_every_wavelength(edges: Any, conserves: Any) -> None:
    """White noise, down to two cells a wave; that of a height by `Geostrophic` radiates waves."""
    grid = Grid((8, 10), (20e3, 25e3))
    model = ShallowWater(depth=1.0, coriolis=9e-5, edges=edges, conserves=conserves)
    bound = model.bind(grid, dtype=torch.float64, device=CPU)
    noise = 1e-6 * random((1, 1, 8, 10), 0)
    flow = Streamfunction(M, M, M, 9e-5, edges=edges).balance(grid, dtype=torch.float64)(noise)
    other = Geostrophic(M, M, 9e-5, edges=edges).balanced(noise, grid)
    force = 9.81 * 1e-6 / 20e3
    inner = (slice(None), slice(None), slice(2, -2), slice(2, -2)) if edges != "periodic" else (slice(None),)
    assert float(bound.tendency(flow)[:, :1].abs().max()) < 1e-5 * float(bound.tendency(other)[:, 1:].abs().max())
    assert float(bound.tendency(flow)[:, 1:][inner].abs().max()) < 1e-4 * force
    assert float(bound.tendency(other)[:, 1:][inner].abs().max()) > 0.1 * force


def test_nothing_flows_through_walls_and_coasts() -> None:
    water = torch.ones(8, 10, dtype=torch.bool)
    water[3:5, 4:6] = False
    grid = Grid((8, 10), (20e3, 25e3), water=water)
    flow = Streamfunction(M, M, M).balance(grid, dtype=torch.float64)(random((2, 1, 8, 10), 0))
    faces = ShallowWater(1.0).bind(grid, dtype=torch.float64, device=CPU).faces
    assert float((flow[:, 1:] * (1 - faces[1:])).abs().max()) == 0
    assert float(flow[:, 0][:, ~water].abs().max()) == 0


@pytest.mark.parametrize("edges", BASINS)
def test_the_flow_by_hand(edges: Any) -> None:
    """Point by point, over an island and cells of many lengths; f varies."""
    rows, columns, coriolis, beta, gravity = 7, 6, 9e-5, 2e-11, 9.7
    water = torch.ones(rows, columns, dtype=torch.bool)
    water[2:4, 2] = False
    dy, dx = metric = 20e3 * (1 + torch.rand((2, rows, columns), generator=torch.Generator().manual_seed(1)).double())
    grid = Grid((rows, columns), (20e3, 20e3), metric=metric, water=water)
    stream = random((1, 1, rows, columns), 2)
    around_y, around_x = edges == "periodic", edges != "closed"

    def at(j: int, i: int) -> tuple[int, int] | None:
        """The cell of these numbers; none beyond a wall."""
        inside = (around_y or 0 <= j < rows) and (around_x or 0 <= i < columns)
        return (j % rows, i % columns) if inside else None

    def corner(j: int, i: int) -> float:
        cells = [at(j + m, i + n) for m in (0, 1) for n in (0, 1)]
        return float(stream[0, 0][cells[0]]) if all(c is not None and water[c] for c in cells) else 0.0

    def between(length: Tensor, here: tuple[int, int], there: tuple[int, int] | None) -> float:
        return float(length[here] + length[here if there is None else there]) / 2

    heights = dy.mean(1)
    expected = torch.zeros(1, 3, rows, columns, dtype=torch.float64)
    for j in range(rows):
        north = float(heights[:j].sum() + heights[j] / 2 - heights.sum() / 2)
        for i in range(columns):
            four = corner(j, i) + corner(j - 1, i) + corner(j, i - 1) + corner(j - 1, i - 1)
            if water[j, i]:
                expected[0, 0, j, i] = four / 4 * (1 + beta * north / coriolis)
            slope = (corner(j, i) - corner(j - 1, i)) / between(dy, (j, i), at(j, i + 1))
            expected[0, 1, j, i] = -gravity / coriolis * slope
            slope = (corner(j, i) - corner(j, i - 1)) / between(dx, (j, i), at(j + 1, i))
            expected[0, 2, j, i] = gravity / coriolis * slope
    flow = Streamfunction(M, M, M, coriolis, beta, gravity, edges=edges).balance(grid, dtype=torch.float64)
    torch.testing.assert_close(flow(stream), expected, rtol=1e-12, atol=1e-9)


def test_f_that_varies_is_in_the_height() -> None:
    grid = Grid((9, 10), (20e3, 25e3), edges="free")
    noise = random((1, 1, 9, 10), 1)
    plain, tilted = (
        Streamfunction(M, M, M, 1e-4, beta, edges="channel").balance(grid, dtype=torch.float64)(noise)
        for beta in (0.0, 2e-11)
    )
    ratio = 1 + 2e-11 * 20e3 * (torch.arange(9.0).double() - 4)[:, None] / 1e-4
    torch.testing.assert_close(tilted[:, 0], plain[:, 0] * ratio)
    torch.testing.assert_close(tilted[:, 1:], plain[:, 1:])
