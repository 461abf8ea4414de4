"""Tiles of a large grid: the finest level is minimised part by part, and the parts are blended."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from xvar.core.allocation import kept_memory
from xvar.core.cost import Cost
from xvar.core.dynamics import State
from xvar.core.grid import Box, crop
from xvar.core.linearisation import Linearisation
from xvar.core.minimize import LBFGS
from xvar.core.problem import Problem

UNSEEN = 0.25  # share of an overlap, at each of its ends, in which the tile that ends there has no weight


@dataclass(frozen=True)
class Tiles:
    r"""Overlapping tiles of a grid, all of the same shape.

    Beyond the points for which a tile is alone it has a `halo`: images and priors there act on what is inside, and
    parcels that come from there are found. In an overlap the weights of two tiles add up to one,

    .. math:: x = \sum_t w_t\, x_t, \quad \sum_t w_t = 1

    each linear along an axis, and zero in the quarter of the overlap next to the end of its tile.
    """

    side: int  # points of a tile along each axis, at most, its halo included
    halo: int  # points at each end of a tile that its neighbour has too, at least

    def boxes(self, shape: tuple[int, ...]) -> list[Box]:
        """Return the tiles of a grid (y, x), row by row."""
        return list(itertools.product(*(self._along(size) for size in shape)))

    def _along(self, size: int) -> list[slice]:
        """Return the tiles along an axis, evenly laid over it."""
        if size <= self.side:
            return [slice(0, size)]
        count = -(-(size - 2 * self.halo) // (self.side - 2 * self.halo))
        length = -(-(size + (count - 1) * 2 * self.halo) // count)
        return [slice(begin := round(k * (size - length) / (count - 1)), begin + length) for k in range(count)]

    def divide(self, shape: tuple[int, ...]) -> bool:
        """Return whether a grid (y, x) has more than one tile."""
        return max(shape) > self.side

    def weight(self, box: Box, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Return the weight of a tile at its points (y, x)."""
        rows, columns = (self._weights(size)[part.start].to(like) for part, size in zip(box, shape, strict=True))
        return rows[:, None] * columns

    def _weights(self, size: int) -> dict[int, Tensor]:
        """Return the weights of the tiles along an axis by the first point of each."""
        tiles, total = self._along(size), torch.zeros(size, dtype=torch.float64)
        found = {tile.start: torch.ones(tile.stop - tile.start, dtype=torch.float64) for tile in tiles}
        for before, after in pairwise(tiles):
            shared = before.stop - after.start
            place = (torch.arange(shared, dtype=torch.float64) + 0.5) / shared
            risen = ((place - UNSEEN) / (1 - 2 * UNSEEN)).clamp(0, 1)
            found[before.start][-shared:] *= 1 - risen
            found[after.start][:shared] *= risen
        for tile in tiles:  # more than two overlap if halos are wide
            total[tile] += found[tile.start]
        return {tile.start: found[tile.start] / total[tile] for tile in tiles}


@dataclass(frozen=True)
class TiledMinimum:
    """Increments of all tiles, blended, and how their minimisations ended, see `Minimum`."""

    increment: State
    evaluations: Tensor  # (window,), of the tile with the most
    reason: Tensor  # (window,), of the tile that ended worst


@kept_memory(rest=0)
def minimise_tiles(problem: Problem, start: State, minimizer: LBFGS, tiles: Tiles) -> TiledMinimum:
    r"""Minimise J of each tile from the increments `start`, and blend what was found.

    J of a tile is that of the problem at its points alone, with scales and coarse grids of the whole image. The
    decrease at which a minimisation stops is a share of J: a tile with less J than the mean of all, such as one without
    rain, stops at that share of the mean, as it would in the whole image.
    """
    shape = problem.grid.shape
    boxes = tiles.boxes(shape)
    mean = torch.stack([_begin(problem, start, box)[2] for box in boxes]).mean(0)
    increment = {name: torch.zeros_like(part) for name, part in start.items()}
    evaluations, reason = (torch.zeros(problem.windows, dtype=torch.int64, device=mean.device) for _ in range(2))
    for box in boxes:
        cost, control, before = _begin(problem, start, box)
        lifted = _Lifted(cost, (mean - before).clamp_min(0))
        minimum = minimizer(lifted, control, cost.inverse_hessian)
        weight = tiles.weight(box, shape, problem.like)
        with torch.no_grad():
            for name, part in cost.space.increment(cost.space.fields(minimum.control)).items():
                crop(increment[name], box).add_(part * weight)
        evaluations = torch.maximum(evaluations, minimum.evaluations)
        reason = torch.maximum(reason, minimum.reason)
    return TiledMinimum(increment, evaluations, reason)


def _begin(problem: Problem, start: State, box: Box) -> tuple[Cost, Tensor, Tensor]:
    """Return J of a tile, the control at which its minimisation begins, and J there."""
    cost = Cost(problem.crop(box))
    with torch.no_grad():
        control = cost.space.control([crop(start[block.name], box) for block in cost.space.blocks])
        return cost, control, cost.value(control)


@dataclass(frozen=True)
class _Lifted:
    """J for a minimiser, with a constant (window,) added to it."""

    cost: Cost
    constant: Tensor

    def __call__(self, control: Tensor, windows: Tensor) -> tuple[Tensor, Tensor]:
        value, gradient = self._of(windows).gradient(control)
        return value + self.constant[windows], gradient

    def linearise(self, control: Tensor, windows: Tensor, factor: int = 1) -> Linearisation:
        """Return the quadratic about a control of some windows; methods of images have no coarse model."""
        assert factor == 1
        return Linearisation(self._of(windows), control)

    def _of(self, windows: Tensor) -> Cost:
        return self.cost if len(windows) == len(self.constant) else self.cost.select(windows)
