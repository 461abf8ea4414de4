from __future__ import annotations

import pytest
import torch

from xvar.core.grid import Grid
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
    "options",
    [
        {"shape": (5, 6), "spacing": (1.0,)},
        {"shape": (0, 6), "spacing": (1.0, 1.0)},
        {"shape": (5, 6), "spacing": (1.0, -1.0)},
        {"shape": (5, 6), "spacing": (1.0, float("nan"))},
        {"shape": (5, 6), "spacing": (1.0, 1.0), "metric": torch.ones(5, 6)},
        {"shape": (5, 6), "spacing": (1.0, 1.0), "water": torch.ones(6, 5, dtype=torch.bool)},
        {"shape": (5, 6), "spacing": (1.0, 1.0), "edges": "open"},
    ],
)
def test_what_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Grid(**options)


def test_a_factor_that_would_change_a_period_is_refused() -> None:
    with pytest.raises(InputError, match="divisor"):
        Grid((5, 6), (1.0, 1.0), edges="periodic").coarsen(2)
    with pytest.raises(InputError, match="positive whole number"):
        Grid((5, 6), (1.0, 1.0)).coarsen(0)
