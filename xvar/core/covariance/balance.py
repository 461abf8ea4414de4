r"""Errors of height and currents that belong together: geostrophic balance inside :math:`B^{1/2}`."""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from xvar.core.covariance.base import Covariance, Shape, Specification
from xvar.core.covariance.linear import linear
from xvar.core.grid import Grid
from xvar.errors import Faults

Basin = Literal["closed", "periodic", "channel"]
Staggering = Literal["A", "C"]

BASINS: tuple[Basin, ...] = ("closed", "periodic", "channel")
STAGGERINGS: tuple[Staggering, ...] = ("A", "C")


class GeostrophicVelocity:
    r"""Velocity (window, 2, y, x) in balance with a height (window, 1, y, x), and the adjoint.

    .. math:: u = -\frac g f \partial_y \eta, \qquad v = \frac g f \partial_x \eta

    On a C grid, with the height averaged to the corners of its cells, the velocity has no divergence where f and the
    spacing are the same everywhere. There is none through walls and coasts.

    Parameters
    ----------
    grid : Grid
    coriolis, beta, gravity
        As in `Geostrophic`.
    staggering : {"A", "C"}
        Whether the velocity lies at the heights, or half a cell towards larger x and towards larger y.
    periodic : tuple of bool
        Whether the far edge is the near one, along (y, x).
    """

    def __init__(
        self,
        grid: Grid,
        coriolis: float,
        beta: float,
        gravity: float,
        staggering: Staggering,
        periodic: tuple[bool, bool],
        *,
        dtype: torch.dtype,
        device: torch.device | str | None,
    ) -> None:
        self._periodic, self._staggered = periodic, staggering == "C"
        if grid.metric is None:
            lengths = [torch.full(grid.shape, d, dtype=torch.float64) for d in grid.spacing]
        else:
            lengths = list(grid.metric.to("cpu", torch.float64))
        dy, dx = lengths
        rows = dy.mean(1).cumsum(0)
        height = (rows - 0.5 * dy.mean(1) - 0.5 * rows[-1])[:, None]
        shift = 0.5 * dy.mean(1)[:, None] if self._staggered else 0.0
        open_u, open_v = self._open(grid)
        along_x = -gravity * open_u / ((coriolis + beta * height) * self._to_face(dy, 1))
        along_y = gravity * open_v / ((coriolis + beta * (height + shift)) * self._to_face(dx, 0))
        self._factor_u = along_x.to(device=device, dtype=dtype)
        self._factor_v = along_y.to(device=device, dtype=dtype)

    def __call__(self, height: Tensor) -> Tensor:
        """The velocity."""
        return linear(height, self._forward, self._adjoint)

    def transpose(self, velocity: Tensor) -> Tensor:
        """The adjoint."""
        return linear(velocity, self._adjoint, self._forward)

    def _forward(self, height: Tensor) -> Tensor:
        along_y, along_x = (self._slope(height, axis) for axis in (0, 1))
        if self._staggered:
            along_y, along_x = self._to_face(along_y, 1), self._to_face(along_x, 0)
        return torch.cat([self._factor_u * along_y, self._factor_v * along_x], dim=1)

    def _adjoint(self, velocity: Tensor) -> Tensor:
        along_y, along_x = self._factor_u * velocity[:, :1], self._factor_v * velocity[:, 1:]
        if self._staggered:
            along_y, along_x = self._to_face(along_y, 1, adjoint=True), self._to_face(along_x, 0, adjoint=True)
        return self._slope(along_y, 0, adjoint=True) + self._slope(along_x, 1, adjoint=True)

    def _slope(self, field: Tensor, axis: int, *, adjoint: bool = False) -> Tensor:
        """Half the difference of the neighbours along an axis; beyond a wall the value goes on."""
        ahead, behind = (self._neighbour(field, axis, step, adjoint=adjoint) for step in (1, -1))
        return 0.5 * (ahead - behind)

    def _to_face(self, field: Tensor, axis: int, *, adjoint: bool = False) -> Tensor:
        """Mean of a point and the next along an axis."""
        if not self._staggered:
            return field
        return 0.5 * (field + self._neighbour(field, axis, 1, adjoint=adjoint))

    def _neighbour(self, field: Tensor, axis: int, step: int, *, adjoint: bool) -> Tensor:
        """The next value (or, for a step of -1, the one before) at every point; the last goes on beyond a wall."""
        dim = axis - 2
        if self._periodic[axis]:
            return field.roll(step if adjoint else -step, dim)
        size = field.shape[dim]
        if size == 1:
            return field
        if not adjoint:
            inner, edge = field.narrow(dim, max(step, 0), size - 1), field.narrow(dim, size - 1 if step > 0 else 0, 1)
            return torch.cat([inner, edge] if step > 0 else [edge, inner], dim)
        # What a point gave to its neighbour, and, at the end, to itself.
        edge = field.narrow(dim, size - 2, 2) if step > 0 else field.narrow(dim, 0, 2)
        inner = field.narrow(dim, 0, size - 2) if step > 0 else field.narrow(dim, 2, size - 2)
        parts = [torch.zeros_like(edge.narrow(dim, 0, 1)), inner, edge.sum(dim, keepdim=True)]
        return torch.cat(parts if step > 0 else parts[::-1], dim)

    def _open(self, grid: Grid) -> tuple[Tensor, Tensor]:
        """One at faces through which water can flow."""
        water = torch.ones(grid.shape, dtype=torch.float64) if grid.water is None else grid.water.cpu().double()
        if not self._staggered:
            return water, water
        beyond = []
        for axis in (1, 0):
            neighbour = water.roll(-1, axis)
            if not self._periodic[axis]:
                neighbour.select(axis, -1).zero_()
            beyond.append(water * neighbour)
        return beyond[0], beyond[1]


class GeostrophicCovariance(Covariance):
    r""":math:`B = K\, \mathrm{diag}(B_\eta, B_a) K^T` with :math:`K (\eta, w_a) = (\eta, G \eta + w_a)`.

    Its inverse is exact, since that of K is: :math:`K^{-1} (\eta, w) = (\eta, w - G \eta)`.
    """

    def __init__(self, height: Covariance, residual: Covariance, balance: GeostrophicVelocity, points: Shape) -> None:
        self._height, self._residual, self._balance, self._points = height, residual, balance, points
        self._parts = tuple(
            part.control_shape((1, components, *points))[1:] for part, components in ((height, 1), (residual, 2))
        )
        self.dtype, self.device = height.dtype, height.device

    def control_shape(self, shape: Shape) -> Shape:
        """One row of numbers for each window: those of the height, then those of the residual."""
        return shape[0], sum(math.prod(part) for part in self._parts)

    def sqrt(self, control: Tensor) -> Tensor:
        """A height, the velocity in balance with it, and a residual."""
        sizes = [math.prod(part) for part in self._parts]
        first, second = (
            numbers.reshape(len(control), *part)
            for numbers, part in zip(control.split(sizes, dim=1), self._parts, strict=True)
        )
        return self._joined(self._height.sqrt(first), self._residual.sqrt(second))

    def sqrt_transpose(self, state: Tensor) -> Tensor:
        """Adjoint of `sqrt`."""
        height, velocity = state[:, :1], state[:, 1:]
        first = self._height.sqrt_transpose(height + self._balance.transpose(velocity))
        return torch.cat([first.flatten(1), self._residual.sqrt_transpose(velocity).flatten(1)], dim=1)

    def solve(self, state: Tensor) -> Tensor:
        """Take the balance out, invert the parts, and put it back on the other side."""
        height, velocity = state[:, :1], state[:, 1:]
        velocity = self._residual.solve(velocity - self._balance(height))
        return torch.cat([self._height.solve(height) - self._balance.transpose(velocity), velocity], dim=1)

    def _joined(self, height: Tensor, residual: Tensor) -> Tensor:
        return torch.cat([height, self._balance(height) + residual], dim=1)

    def log_determinant(self, shape: Shape) -> Tensor | None:
        """That of the parts: the balance has a determinant of one."""
        windows, _, *points = shape
        parts = (
            self._height.log_determinant((windows, 1, *points)),
            self._residual.log_determinant((windows, 2, *points)),
        )
        return None if parts[0] is None or parts[1] is None else parts[0] + parts[1]

    def select(self, windows: Tensor) -> GeostrophicCovariance:
        """The parts of some windows."""
        part = copy(self)
        part._height, part._residual = self._height.select(windows), self._residual.select(windows)
        return part


@dataclass(frozen=True, eq=False)
class Geostrophic(Specification):
    r"""Errors of (height, u, v) whose currents are in geostrophic balance with the height, but for a residual.

    .. math::

        \delta u = -\frac g f \partial_y \delta\eta + \delta u_a, \qquad
        \delta v = \frac g f \partial_x \delta\eta + \delta v_a, \qquad
        B = K \begin{pmatrix} B_\eta & 0 \\ 0 & B_a \end{pmatrix} K^T

    for a component of the state that holds all three, (window, 3, y, x), such as ``flow`` of
    `xvar.dynamics.ShallowWater`. An observation of the height then moves the currents with it, and what the analysis
    adds makes hardly any gravity waves: these need the residual, whose variance is stated.

    Parameters
    ----------
    height : specification
        :math:`B_\eta` of the height, in metres, of fields that are smooth enough to have a slope: `Matern` with a
        smoothness of 2 or more.
    residual : specification
        :math:`B_a` of the velocity out of balance, (window, 2, y, x) in m/s.
    coriolis : float
        f in s-1, in the middle of the grid.
    beta : float
        Its slope towards larger y in m-1 s-1; f may not vanish on the grid.
    gravity : float
        g in m s-2.
    staggering : {"C", "A"}
        Where u and v are: half a cell towards larger x and towards larger y, or at the heights.
    edges : {"closed", "periodic", "channel"}, optional
        No flow through any edge; edges that are one; or no flow through the south and the north alone. Default:
        periodic where the grid is, else closed.

    References
    ----------
    Derber, J., Bouttier, F. (1999) A reformulation of the background error covariance in the ECMWF global data
    assimilation system, doi:10.3402/tellusa.v51i2.12316.
    Weaver, A. T., Deltel, C., Machu, E., Ricci, S., Daget, N. (2005) A multivariate balance operator for variational
    ocean data assimilation, doi:10.1256/qj.05.119.
    """

    height: Specification
    residual: Specification
    coriolis: float = 1e-4
    beta: float = 0.0
    gravity: float = 9.81
    staggering: Staggering = "C"
    edges: Basin | None = None

    def bind(
        self, grid: Grid, *, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None
    ) -> GeostrophicCovariance:
        """Operator on this grid, for states of three components (height, u, v).

        Raises
        ------
        InputError
            Where f vanishes on the grid, the grid has not two axes, or a word is none of those known.
        """
        height = self.height.bind(grid, dtype=dtype, device=device)
        residual = self.residual.bind(grid, dtype=dtype, device=device)
        return GeostrophicCovariance(height, residual, self.balance(grid, dtype=dtype, device=device), grid.shape)

    def balance(
        self, grid: Grid, *, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None
    ) -> GeostrophicVelocity:
        """G on this grid: from a height to the velocity in balance with it."""
        self._check(grid)
        edges = self.edges or ("periodic" if grid.edges == "periodic" else "closed")
        periodic = edges == "periodic", edges != "closed"
        return GeostrophicVelocity(
            grid, self.coriolis, self.beta, self.gravity, self.staggering, periodic, dtype=dtype, device=device
        )

    def balanced(self, height: Tensor, grid: Grid) -> Tensor:
        """A height (window, 1, y, x) with the currents in balance with it, (window, 3, y, x)."""
        balance = self.balance(grid, dtype=height.dtype, device=height.device)
        return torch.cat([height, balance(height)], dim=1)

    def _check(self, grid: Grid) -> None:
        faults = Faults()
        for name, allowed in (("staggering", STAGGERINGS), ("edges", (None, *BASINS))):
            if getattr(self, name) not in allowed:
                faults.add(
                    found=f"{name}={getattr(self, name)!r}",
                    expected=f"one of {', '.join(map(repr, allowed))}",
                    fix=f"{name}={allowed[-1]!r}",
                )
        if len(grid.shape) != 2:
            faults.add(found=f"a grid of shape {grid.shape}", expected="two axes (y, x)", fix="give a plane")
            faults.raise_if_any()
        reach = 0.5 * grid.shape[0] * grid.spacing[0]
        if abs(self.coriolis) <= abs(self.beta) * reach:
            faults.add(
                found=f"coriolis={self.coriolis:g} s-1 and beta={self.beta:g} m-1 s-1 over {2 * reach:g} m",
                expected="a Coriolis parameter that is not zero on the grid",
                fix="leave the equator out, or use a covariance without balance",
            )
        faults.raise_if_any()
