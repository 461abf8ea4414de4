"""Balance between errors of height and of currents."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from xvar.core.covariance.base import Covariance, Shape, Specification
from xvar.core.covariance.composite import CompositeCovariance, with_precise
from xvar.core.grid import BASINS, Basin, Device, Grid
from xvar.core.linear_maps import linear
from xvar.errors import Faults

Staggering = Literal["A", "C"]

STAGGERINGS: tuple[Staggering, ...] = ("A", "C")


class Balance(ABC):
    """Linear map of a field (window, 1, y, x) to a flow in balance with it, and the adjoint, between walls."""

    def __init__(self, edges: Basin | None, grid: Grid) -> None:
        edges = edges or ("periodic" if grid.edges == "periodic" else "closed")
        self._periodic = edges == "periodic", edges != "closed"  # along y, along x

    def __call__(self, field: Tensor) -> Tensor:
        """Return the flow."""
        return linear(field, self._forward, self._adjoint)

    def transpose(self, flow: Tensor) -> Tensor:
        """Return the adjoint."""
        return linear(flow, self._adjoint, self._forward)

    @abstractmethod
    def _forward(self, field: Tensor) -> Tensor: ...

    @abstractmethod
    def _adjoint(self, flow: Tensor) -> Tensor: ...

    def _neighbour(
        self, field: Tensor, axis: int, step: int = 1, *, copied: bool = False, adjoint: bool = False
    ) -> Tensor:
        """Return the next value (for a step of -1 the one before) of each point along an axis, 0 along y, 1 along x.

        Beyond a wall it is zero, or the value of the point itself if `copied`.
        """
        dim = axis - 2
        moved = field.roll(step if adjoint else -step, dim)
        if self._periodic[axis]:
            return moved
        first, last = (0, -1) if step > 0 else (-1, 0)
        moved.select(dim, first if adjoint else last).zero_()
        if copied:
            moved.select(dim, last).add_(field.select(dim, last))
        return moved

    def _to_face(self, field: Tensor, axis: int, *, adjoint: bool = False) -> Tensor:
        """Average each point and the next along an axis."""
        return 0.5 * (field + self._neighbour(field, axis, copied=True, adjoint=adjoint))


class GeostrophicVelocity(Balance):
    r"""Velocity (window, 2, y, x) in balance with a height (window, 1, y, x), and the adjoint.

    .. math:: u = -\frac g f \partial_y \eta, \qquad v = \frac g f \partial_x \eta

    On a C grid, with the height averaged to the corners of its cells, the velocity has no divergence if f and the
    spacing are constant. There is none through walls and coasts.
    """

    def __init__(self, numbers: Geostrophic, grid: Grid, *, dtype: torch.dtype, device: Device) -> None:
        super().__init__(numbers.edges, grid)
        self._staggered = numbers.staggering == "C"
        water, (dy, dx) = grid.wet(), grid.lengths()
        north = north_of_v = northward(dy)
        open_u = open_v = water
        if self._staggered:
            north_of_v = north + 0.5 * dy.mean(1)[:, None]
            open_u, open_v = (water * self._neighbour(water, axis) for axis in (1, 0))
            dy, dx = self._to_face(dy, 1), self._to_face(dx, 0)
        along_x = -numbers.gravity * open_u / ((numbers.coriolis + numbers.beta * north) * dy)
        along_y = numbers.gravity * open_v / ((numbers.coriolis + numbers.beta * north_of_v) * dx)
        self._factor_u = along_x.to(device=device, dtype=dtype)
        self._factor_v = along_y.to(device=device, dtype=dtype)

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
        """Return half the difference of the neighbours along an axis."""
        ahead, behind = (self._neighbour(field, axis, step, copied=True, adjoint=adjoint) for step in (1, -1))
        return 0.5 * (ahead - behind)


def northward(dy: Tensor) -> Tensor:
    """Return the distance of each row from the middle of the grid in metres, (y, 1)."""
    rows = dy.mean(1).cumsum(0)
    return (rows - 0.5 * dy.mean(1) - 0.5 * rows[-1])[:, None]


class GeostrophicCovariance(CompositeCovariance):
    r""":math:`B = K\, \mathrm{diag}(B_\eta, B_a) K^T` with :math:`K (\eta, w_a) = (\eta, G \eta + w_a)`.

    Its inverse is exact: :math:`K^{-1} (\eta, w) = (\eta, w - G \eta)`.
    """

    def __init__(self, height: Covariance, residual: Covariance, balance: GeostrophicVelocity, points: Shape) -> None:
        super().__init__([(height, 1), (residual, 2)], points)
        self._balance = balance

    def sqrt(self, control: Tensor) -> Tensor:
        """Return a height, and the velocity in balance with it plus a residual."""
        height, residual = self.fields(control)
        return torch.cat([height, self._balance(height) + residual], dim=1)

    def sqrt_transpose(self, state: Tensor) -> Tensor:
        """Return the adjoint of `sqrt`."""
        (heights, residuals), height, velocity = self._parts, state[:, :1], state[:, 1:]
        balanced = heights.sqrt_transpose(height + self._balance.transpose(velocity))
        return self.merge([balanced, residuals.sqrt_transpose(velocity)])

    def solve(self, state: Tensor) -> Tensor:
        """Remove the balance, invert the parts, and apply the adjoint of the removal."""
        (heights, residuals), height, velocity = self._parts, state[:, :1], state[:, 1:]
        velocity = residuals.solve(velocity - self._balance(height))
        return torch.cat([heights.solve(height) - self._balance.transpose(velocity), velocity], dim=1)


@dataclass(frozen=True, eq=False)
class Geostrophic(Specification):
    r"""Errors of (height, u, v) whose currents are in geostrophic balance with the height, up to a residual.

    .. math::

        \delta u = -\frac g f \partial_y \delta\eta + \delta u_a, \qquad
        \delta v = \frac g f \partial_x \delta\eta + \delta v_a, \qquad
        B = K \begin{pmatrix} B_\eta & 0 \\ 0 & B_a \end{pmatrix} K^T

    for a component of the state that holds all three, (window, 3, y, x), such as ``flow`` of
    `xvar.dynamics.ShallowWater`. An observation of the height then changes the currents too, and the increment excites
    hardly any gravity waves: these need the residual, whose variance is stated. No flow crosses walls and coasts in the
    balanced part.

    Parameters
    ----------
    height : specification
        :math:`B_\eta` of the height in metres, of differentiable fields: `Matern` with a smoothness of 2 or more.
    residual : specification
        :math:`B_a` of the velocity out of balance, (window, 2, y, x) in m/s.
    coriolis : float
        f in s-1, in the middle of the grid.
    beta : float
        Its slope towards larger y in m-1 s-1; f may not vanish on the grid.
    gravity : float
        g in m s-2.
    staggering : {"C", "A"}
        Position of u and v: half a cell towards larger x and towards larger y, or at the heights.
    edges : {"closed", "periodic", "channel"}, optional
        No flow through any edge; periodic; or no flow through the south and the north alone. Default: periodic on a
        periodic grid, else closed.

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

    def bind(self, grid: Grid, *, dtype: torch.dtype = torch.float32, device: Device = None) -> GeostrophicCovariance:
        """Return the operator on a grid, for states of three components (height, u, v); see `Specification.bind`."""
        height = self.height.bind(grid, dtype=dtype, device=device)
        residual = self.residual.bind(grid, dtype=dtype, device=device)
        return GeostrophicCovariance(height, residual, self.balance(grid, dtype=dtype, device=device), grid.shape)

    def balance(self, grid: Grid, *, dtype: torch.dtype = torch.float32, device: Device = None) -> GeostrophicVelocity:
        """Return G on a grid: from a height to the velocity in balance with it."""
        faults = Faults()
        faults.check_choice("staggering", self.staggering, STAGGERINGS, "C")
        if self.edges is not None:
            faults.check_choice("edges", self.edges, BASINS, "channel")
        grid.check_plane(faults)
        reach = 0.5 * grid.shape[0] * grid.spacing[0]
        if abs(self.coriolis) <= abs(self.beta) * reach:
            faults.add(
                code="no-rotation",
                found=f"coriolis={self.coriolis:g} s-1 and beta={self.beta:g} m-1 s-1 over {2 * reach:g} m",
                expected="a Coriolis parameter that is nowhere zero on the grid",
                fix="beta=0.0, a grid without the equator, or a covariance without balance",
            )
        faults.raise_if_any()
        return GeostrophicVelocity(self, grid, dtype=dtype, device=device)

    def balanced(self, height: Tensor, grid: Grid) -> Tensor:
        """Return a height (window, 1, y, x) with the currents in balance with it, (window, 3, y, x)."""
        balance = self.balance(grid, dtype=height.dtype, device=height.device)
        return torch.cat([height, balance(height)], dim=1)


class BalancedFlow(Balance):
    r"""Steady flow (window, 3, y, x) of a streamfunction (window, 1, y, x), and the adjoint.

    .. math::

        \eta = \frac{f}{f_0}\, \overline{\zeta}^{xy}, \qquad u = -\frac{g}{f_0} \delta_y \zeta, \qquad
        v = \frac{g}{f_0} \delta_x \zeta

    with :math:`\zeta = f_0 \psi / g`, the streamfunction in metres of height, at the corners of the cells. With
    constant f and spacing these are the steady flows of the linear equations on a C grid, at every wavelength of the
    grid. There is none through walls and coasts.
    """

    def __init__(self, numbers: Streamfunction, grid: Grid, *, dtype: torch.dtype, device: Device) -> None:
        super().__init__(numbers.edges, grid)
        water, (dy, dx) = grid.wet(), grid.lengths()
        corner = water * self._neighbour(water, 0)
        per_height = numbers.gravity / numbers.coriolis
        self._corner, self._of_height, self._of_u, self._of_v = (
            values.to(device=device, dtype=dtype)
            for values in (
                corner * self._neighbour(corner, 1),
                0.25 * water * (1 + numbers.beta * northward(dy) / numbers.coriolis),
                -per_height / self._to_face(dy, 1),
                per_height / self._to_face(dx, 0),
            )
        )

    def _forward(self, stream: Tensor) -> Tensor:
        zeta = stream * self._corner
        south, west = self._neighbour(zeta, 0, -1), self._neighbour(zeta, 1, -1)
        height = self._of_height * (zeta + south + west + self._neighbour(south, 1, -1))
        return torch.cat([height, self._of_u * (zeta - south), self._of_v * (zeta - west)], dim=1)

    def _adjoint(self, flow: Tensor) -> Tensor:
        height, along_x, along_y = (
            factor * flow[:, index : index + 1]
            for index, factor in enumerate((self._of_height, self._of_u, self._of_v))
        )
        south = self._neighbour(height, 0)
        total = height + south + self._neighbour(height, 1) + self._neighbour(south, 1)
        total = total + along_x - self._neighbour(along_x, 0) + along_y - self._neighbour(along_y, 1)
        return total * self._corner


class StreamfunctionCovariance(CompositeCovariance):
    r""":math:`B = K B_\zeta K^T + \mathrm{diag}(B_\eta, B_a)`."""

    iterations = 5000

    def __init__(
        self, stream: Covariance, height: Covariance, velocity: Covariance, flow: BalancedFlow, points: Shape
    ) -> None:
        super().__init__([(stream, 1), (height, 1), (velocity, 2)], points)
        self._flow = flow

    def sqrt(self, control: Tensor) -> Tensor:
        """Return the flow of a streamfunction plus a residual."""
        stream, height, velocity = self.fields(control)
        return self._flow(stream) + torch.cat([height, velocity], dim=1)

    def sqrt_transpose(self, state: Tensor) -> Tensor:
        """Return the adjoint of `sqrt`."""
        fields = self._flow.transpose(state), state[:, :1], state[:, 1:]
        return self.merge(part.sqrt_transpose(field) for part, field in zip(self._parts, fields, strict=True))

    def precondition(self, state: Tensor) -> Tensor:
        """Invert the covariance of the residual."""
        _, height, velocity = self._parts
        return torch.cat([height.solve(state[:, :1]), velocity.solve(state[:, 1:])], dim=1)


@dataclass(frozen=True, eq=False)
class Streamfunction(Specification):
    r"""Errors of (height, u, v) on a C grid in balance by a streamfunction, up to residuals.

    .. math::

        \delta\eta = \frac{f}{f_0} \overline{\zeta}^{xy} + \delta\eta_a, \qquad
        \delta u = -\frac{g}{f_0} \partial_y \zeta + \delta u_a, \qquad
        \delta v = \frac{g}{f_0} \partial_x \zeta + \delta v_a, \qquad
        B = K B_\zeta K^T + \begin{pmatrix} B_\eta & 0 \\ 0 & B_a \end{pmatrix}

    for a component of the state that holds all three, (window, 3, y, x), such as ``flow`` of
    `xvar.dynamics.ShallowWater`. `Geostrophic` averages the slopes of the height to the velocities of a C grid: at four
    cells a wave it has half of the balanced current, at two none. This balance is better on a grid that hardly resolves
    the radius of deformation, since it includes the vorticity of filaments. No flow crosses walls and coasts in the
    balanced part.

    Parameters
    ----------
    stream : specification
        :math:`B_\zeta` of the streamfunction in metres of height, :math:`\zeta = f_0 \psi / g`: `Matern` with a
        smoothness of 2 or more.
    height : specification
        :math:`B_\eta` of the height out of balance, in metres: waves, and the centrifugal force of eddies.
    velocity : specification
        :math:`B_a` of the velocity out of balance, (window, 2, y, x) in m/s.
    coriolis : float
        :math:`f_0` in s-1, in the middle of the grid.
    beta : float
        The slope of f towards larger y in m-1 s-1.
    gravity : float
        g in m s-2.
    edges : {"closed", "periodic", "channel"}, optional
        As in `Geostrophic`.

    References
    ----------
    Daley, R. (1996) Generation of global multivariate error covariances by singular-value decomposition of the linear
    balance equation, doi:10.1175/1520-0493(1996)124<2574:GOGMEC>2.0.CO;2.
    Derber, J., Bouttier, F. (1999) A reformulation of the background error covariance in the ECMWF global data
    assimilation system, doi:10.3402/tellusa.v51i2.12316.
    """

    stream: Specification
    height: Specification
    velocity: Specification
    coriolis: float = 1e-4
    beta: float = 0.0
    gravity: float = 9.81
    edges: Basin | None = None

    def bind(
        self, grid: Grid, *, dtype: torch.dtype = torch.float32, device: Device = None
    ) -> StreamfunctionCovariance:
        """Return the operator on a grid, for states of three components (height, u, v); see `Specification.bind`."""

        def make(dtype: torch.dtype, device: Device) -> StreamfunctionCovariance:
            flow = self.balance(grid, dtype=dtype, device=device)
            stream, height, velocity = (
                part.bind(grid, dtype=dtype, device=device) for part in (self.stream, self.height, self.velocity)
            )
            return StreamfunctionCovariance(stream, height, velocity, flow, grid.shape)

        return with_precise(make, dtype, device)

    def balance(self, grid: Grid, *, dtype: torch.dtype = torch.float32, device: Device = None) -> BalancedFlow:
        """Return K on a grid: from a streamfunction to the flow in balance with it."""
        faults = Faults()
        if self.edges is not None:
            faults.check_choice("edges", self.edges, BASINS, "closed")
        grid.check_plane(faults)
        if self.coriolis == 0:
            faults.add(
                code="no-rotation",
                found="coriolis=0",
                expected="a Coriolis parameter that is not zero",
                fix="coriolis=1e-4, or a covariance without balance",
            )
        faults.raise_if_any()
        return BalancedFlow(self, grid, dtype=dtype, device=device)
