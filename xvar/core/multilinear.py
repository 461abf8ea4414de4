"""Linear interpolation along each axis of a grid, of any number of axes."""

from __future__ import annotations

import math
from functools import reduce
from itertools import product

import torch
from torch import Tensor

from xvar.core.grid import Edges
from xvar.core.scatter import gather


def multilinear(field: Tensor, position: Tensor, edges: Edges = "free") -> Tensor:
    r"""Return a field (window, component, \*grid) at positions (window, axis, point), as (window, component, point).

    Positions are in grid units, component 0 along the last axis of the grid. On a ``periodic`` grid the last cell of an
    axis lies between its last point and its first; on others positions beyond an edge have the values of the edge.
    """
    sizes = field.shape[2:]
    strides = [math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))]
    corners = [
        _corners(place, size, stride, periodic=edges == "periodic")
        for place, size, stride in zip(position.flip(1).unbind(1), sizes, strides, strict=True)
    ]
    values, found = field.flatten(2), list[Tensor]()
    for choice in product(*corners):
        index = reduce(torch.add, [part for part, _ in choice])
        weight = reduce(torch.mul, [share for _, share in choice])
        found.append(weight[:, None] * gather(values, index))
    return torch.stack(found).sum(0)


def _corners(place: Tensor, size: int, stride: int, *, periodic: bool) -> list[tuple[Tensor, Tensor]]:
    """Return the index and the weight of both neighbours along one axis, each (window, point)."""
    place = torch.remainder(place, size) if periodic else place.clamp(0, size - 1)
    last = size - 1 if periodic else max(size - 2, 0)
    first = place.detach().floor().clamp(max=last).long()
    share = place - first
    return [(first * stride, 1 - share), ((first + 1).remainder(size) * stride, share)]
