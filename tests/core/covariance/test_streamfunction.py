from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.core.covariance.operators import OperatorTests
from tests.core.numerics import random
from xvar.core.covariance import Covariance, Diagonal, Matern
from xvar.core.covariance.balance import BASINS, Geostrophic
from xvar.core.covariance.streamfunction import Streamfunction
from xvar.core.grid import Grid
from xvar.core.shallow_water import ShallowWater
from xvar.errors import InputError

CPU = torch.device("cpu")
GRID = Grid((7, 6), (20e3, 25e3))
M = Matern(1.0, 60e3, 2)


class TestClosed(OperatorTests):
    iterative = True
    shape = (3, 3, 7, 6)
    has_log_determinant = False

    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        error = Streamfunction(Matern(0.1, 60e3, 2), Diagonal(0.1), Matern(0.3, 60e3), beta=2e-11)
        return error.bind(GRID, dtype=dtype, device=device)


class TestPeriodic(OperatorTests):
    iterative = True
    shape = (3, 3, 7, 6)
    has_log_determinant = False

    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        error = Streamfunction(Matern(0.1, 60e3, 3), Diagonal(0.1), Diagonal(0.3))
        return error.bind(Grid((7, 6), (20e3, 25e3), edges="periodic"), dtype=dtype, device=device)


class TestIslandInAChannel(OperatorTests):
    """Over an island and on a grid of many lengths."""

    iterative = True
    shape = (3, 3, 7, 6)
    has_log_determinant = False

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


@pytest.mark.parametrize(
    ("options", "grid", "words"),
    [
        ({"edges": "open"}, GRID, "edges"),
        ({"coriolis": 0.0}, GRID, "rotates"),
        ({}, Grid((4,), (1.0,)), "two axes"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], grid: Grid, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Streamfunction(M, M, M, **options).balance(grid)
