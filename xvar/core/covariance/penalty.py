"""Penalty on the divergence of a velocity, as a term of J."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import pad

from xvar.core.covariance.transform import DifferenceEdges
from xvar.core.grid import Grid


def _with_neighbours(field: Tensor, edges: DifferenceEdges) -> Tensor:
    """Append the values beyond the edges that forward differences along both axes need."""
    if edges == "zero":
        return pad(field, (1, 1, 1, 1))
    if edges == "appended_zero":
        return pad(field, (0, 1, 0, 1))
    return pad(field, (0, 1, 0, 1), mode="circular") if edges == "periodic" else field


def divergence_penalty(velocity: Tensor, grid: Grid, weight: float, edges: DifferenceEdges | None = None) -> Tensor:
    r"""Return :math:`\frac12 \beta \sum (\nabla \cdot w)^2` of each window (window,), by forward differences.

    The sum runs over the points at which both differences exist: with free edges all but the last row and column, with
    zeros on all sides one row and one column more.

    Parameters
    ----------
    velocity : Tensor (window, 2, y, x)
        In m/s, component 0 along x.
    grid : Grid
    weight : float
        :math:`\beta` in s2.
    edges : {"free", "zero", "periodic", "appended_zero"}, optional
        Values beyond the edges: none, zeros on all sides, those of the opposite edge, or zeros beyond the far edges
        only. Default: the grid's.
    """
    dy, dx = grid.spacing
    field = _with_neighbours(velocity, edges or grid.edges)
    along_x = field[:, 0, :-1].diff(dim=-1) / dx
    along_y = field[:, 1, :, :-1].diff(dim=-2) / dy
    return 0.5 * weight * ((along_x + along_y) ** 2).flatten(1).sum(1)
