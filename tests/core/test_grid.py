from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import avg_pool2d

from tests.faults.codes import codes
from xvar.core.grid import Grid, block_mean
from xvar.errors import InputError


def test_coarsening_rounds_the_shape_up() -> None:
    metric = torch.arange(1.0, 31.0).reshape(1, 5, 6).repeat(2, 1, 1)
    water = torch.zeros(5, 6, dtype=torch.bool)
    water[:2, 0] = True
    water[4, 5] = True
    coarse = Grid((5, 6), (10.0, 20.0), metric, water).coarsen(2)
    assert coarse.shape == (3, 3)
    assert coarse.spacing == (20.0, 40.0)
    assert coarse.metric is not None
    assert coarse.water is not None
    # The mean of the four points of a block, twice; of the two that the block at the far edge holds.
    assert float(coarse.metric[0, 0, 0]) == 2 * (1 + 2 + 7 + 8) / 4
    assert float(coarse.metric[1, 2, 1]) == 2 * (27 + 28) / 2
    # Half of a block is enough.
    assert coarse.water.tolist() == [[True, False, False], [False, False, False], [False, False, True]]
    assert coarse.water.dtype == torch.bool


def test_coarsening_by_one_and_of_a_bare_grid() -> None:
    grid = Grid((5,), (10.0,))
    assert grid.coarsen(1) is grid
    coarse = grid.coarsen(3)
    assert (coarse.shape, coarse.spacing, coarse.edges) == ((2,), (30.0,), "free")
    assert Grid((6, 4), (1.0, 1.0), edges="periodic").coarsen(2).shape == (3, 2)
    assert grid.size == 5


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"spacing": (1.0,)}, "grid-shape"),
        ({"shape": (0, 6)}, "grid-shape"),
        ({"spacing": (1.0, -1.0)}, "grid-spacing"),
        ({"spacing": (1.0, float("nan"))}, "grid-spacing"),
        ({"metric": torch.ones(5, 6)}, "grid-field-shape"),
        ({"water": torch.ones(6, 5, dtype=torch.bool)}, "grid-field-shape"),
        ({"edges": "open"}, "unknown-choice"),
    ],
)
def test_faults_of_a_grid(options: dict[str, Any], code: str) -> None:
    with pytest.raises(InputError) as report:
        Grid(**({"shape": (5, 6), "spacing": (1.0, 1.0)} | options))
    assert codes(report.value) == [code]


@pytest.mark.parametrize(("edges", "factor"), [("periodic", 2), ("free", 0)])
def test_a_factor_is_positive_and_keeps_the_length_of_a_period(edges: Any, factor: int) -> None:
    with pytest.raises(InputError) as report:
        Grid((5, 6), (1.0, 1.0), edges=edges).coarsen(factor)
    assert codes(report.value) == ["grid-factor"]


def test_lengths_and_water_are_fields_of_the_grid() -> None:
    metric, water = torch.rand(2, 5, 6) + 1, torch.rand(5, 6) > 0.5
    grid = Grid((5, 6), (1.0, 2.0), metric=metric, water=water)
    assert torch.equal(torch.stack(grid.lengths()), metric.double())
    assert torch.equal(grid.wet(), water.double())
    dy, dx = Grid((5, 6), (1.0, 2.0)).lengths()
    assert (dy == 1).all()
    assert (dx == 2).all()
    assert Grid((5, 6), (1.0, 2.0)).wet().all()


@pytest.mark.parametrize("shape", [(2, 3, 7, 9), (3, 8, 8), (1, 2, 3, 17)])
@pytest.mark.parametrize("factor", [1, 2, 4, 8])
def test_means_over_blocks_count_the_points_inside_the_grid(shape: tuple[int, ...], factor: int) -> None:
    values = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = avg_pool2d(values, factor, ceil_mode=True, count_include_pad=False)
    torch.testing.assert_close(block_mean(values, factor), expected)
