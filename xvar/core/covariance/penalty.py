"""Terms of J on the differences of a velocity, for what has no exact square root."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import pad

from xvar.core.covariance.transform import DifferenceEdges
from xvar.core.grid import Grid


def _with_neighbours(field: Tensor, edges: DifferenceEdges) -> Tensor:
    """Append the values beyond the edges from which forward differences along both axes are taken."""
    if edges == "zero":
        return pad(field, (1, 1, 1, 1))
    if edges == "appended_zero":
        return pad(field, (0, 1, 0, 1))
    if edges == "periodic":
        return pad(field, (0, 1, 0, 1), mode="circular")
    return field


def gradient_penalty(velocity: Tensor, grid: Grid, weight: float, edges: DifferenceEdges | None = None) -> Tensor:
    r""":math:`\frac12 \alpha \sum |\nabla w|^2` for each window, by forward differences.

    Parameters
    ----------
    velocity : Tensor
        (window, component, y, x) in m/s.
    grid : Grid
        For its spacing.
    weight : float
        :math:`\alpha` in s2.
    edges : {"free", "zero", "periodic", "appended_zero"}, optional
        What lies beyond the edges: nothing (no difference is taken across), zeros on all sides, the opposite edge, or
        zeros beyond the far edges only. Default: the grid's.

    Returns
    -------
    Tensor
        (window,).
    """
    edges = edges or grid.edges
    dy, dx = grid.spacing
    field = _with_neighbours(velocity, edges)
    # Rows and columns that were appended carry differences across the edge, none along it.
    inner = {"zero": slice(1, -1), "free": slice(None)}.get(edges, slice(None, -1))
    along_y = field[..., :, inner].diff(dim=-2) / dy
    along_x = field[..., inner, :].diff(dim=-1) / dx
    return 0.5 * weight * ((along_y**2).flatten(1).sum(1) + (along_x**2).flatten(1).sum(1))


def divergence_penalty(velocity: Tensor, grid: Grid, weight: float, edges: DifferenceEdges | None = None) -> Tensor:
    r""":math:`\frac12 \beta \sum (\nabla \cdot w)^2` for each window, by forward differences.

    The sum runs over the points where both differences exist: all but the last row and column with free edges, one row
    and column more with zeros on all sides.

    Parameters
    ----------
    velocity : Tensor
        (window, 2, y, x) in m/s, component 0 along x.
    grid : Grid
        For its spacing.
    weight : float
        :math:`\beta` in s2.
    edges : {"free", "zero", "periodic", "appended_zero"}, optional
        As in `gradient_penalty`.

    Returns
    -------
    Tensor
        (window,).
    """
    dy, dx = grid.spacing
    field = _with_neighbours(velocity, edges or grid.edges)
    along_x = field[:, 0, :-1].diff(dim=-1) / dx
    along_y = field[:, 1, :, :-1].diff(dim=-2) / dy
    return 0.5 * weight * ((along_x + along_y) ** 2).flatten(1).sum(1)
