r"""Errors of height and currents that a streamfunction links, on a C grid."""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from xvar.core.covariance.balance import BASINS, Basin
from xvar.core.covariance.base import Covariance, Shape, Specification
from xvar.core.covariance.iterative import conjugate_gradients
from xvar.core.covariance.linear import linear
from xvar.core.grid import Grid
from xvar.errors import Faults


class BalancedFlow:
    r"""The steady flow (window, 3, y, x) of a streamfunction (window, 1, y, x), and the adjoint.

    .. math::

        \eta = \frac{f}{f_0}\, \overline{\zeta}^{xy}, \qquad u = -\frac{g}{f_0} \delta_y \zeta, \qquad
        v = \frac{g}{f_0} \delta_x \zeta

    with :math:`\zeta = f_0 \psi / g`, the streamfunction in metres of height, at the corners of the cells. Where f and
    the spacing are the same everywhere these are the flows that the linear equations on a C grid leave as they are, at
    every wavelength that the grid holds. There is none through walls and coasts.
    """

    def __init__(
        self,
        grid: Grid,
        coriolis: float,
        beta: float,
        gravity: float,
        periodic: tuple[bool, bool],
        *,
        dtype: torch.dtype,
        device: torch.device | str | None,
    ) -> None:
        self._periodic = periodic

        def own(values: Tensor) -> Tensor:
            return values.to(device=device, dtype=dtype)

        if grid.metric is None:
            dy, dx = (torch.full(grid.shape, d, dtype=torch.float64) for d in grid.spacing)
        else:
            dy, dx = grid.metric.to("cpu", torch.float64)
        rows = dy.mean(1).cumsum(0)
        north = (rows - 0.5 * dy.mean(1) - 0.5 * rows[-1])[:, None]
        water = torch.ones(grid.shape, dtype=torch.float64) if grid.water is None else grid.water.cpu().double()
        corner = water * self._ahead(water, 0)
        self._corner = own(corner * self._ahead(corner, 1))
        self._of_height = own(0.25 * water * (1 + beta * north / coriolis))
        self._of_u = own(-gravity / coriolis / (0.5 * (dy + self._near(dy, 1))))
        self._of_v = own(gravity / coriolis / (0.5 * (dx + self._near(dx, 0))))

    def __call__(self, stream: Tensor) -> Tensor:
        """The flow."""
        return linear(stream, self._forward, self._adjoint)

    def transpose(self, flow: Tensor) -> Tensor:
        """The adjoint."""
        return linear(flow, self._adjoint, self._forward)

    def _forward(self, stream: Tensor) -> Tensor:
        zeta = stream * self._corner
        south, west = self._behind(zeta, 0), self._behind(zeta, 1)
        height = self._of_height * (zeta + south + west + self._behind(south, 1))
        return torch.cat([height, self._of_u * (zeta - south), self._of_v * (zeta - west)], dim=1)

    def _adjoint(self, flow: Tensor) -> Tensor:
        height, along_x, along_y = (
            factor * flow[:, index : index + 1]
            for index, factor in enumerate((self._of_height, self._of_u, self._of_v))
        )
        south = self._ahead(height, 0)
        total = height + south + self._ahead(height, 1) + self._ahead(south, 1)
        total = total + along_x - self._ahead(along_x, 0) + along_y - self._ahead(along_y, 1)
        return total * self._corner

    def _behind(self, field: Tensor, axis: int) -> Tensor:
        """The value before each along an axis; before a wall there is none."""
        return self._shifted(field, axis, 1)

    def _ahead(self, field: Tensor, axis: int) -> Tensor:
        """The value after each along an axis: the adjoint of `_behind`."""
        return self._shifted(field, axis, -1)

    def _shifted(self, field: Tensor, axis: int, step: int) -> Tensor:
        dim = axis - 2
        moved = field.roll(step, dim)
        if not self._periodic[axis]:
            moved = moved.clone()
            moved.select(dim, 0 if step > 0 else -1).zero_()
        return moved

    def _near(self, lengths: Tensor, axis: int) -> Tensor:
        """The spacing of the next cell; the last cell's goes on beyond a wall."""
        ahead = lengths.roll(-1, axis)
        if not self._periodic[axis]:
            ahead.select(axis, -1).copy_(lengths.select(axis, -1))
        return ahead


class StreamfunctionCovariance(Covariance):
    r""":math:`B = K B_\zeta K^T + \mathrm{diag}(B_\eta, B_a)`, its inverse iterative, in double precision."""

    def __init__(
        self, stream: Covariance, height: Covariance, velocity: Covariance, flow: BalancedFlow, points: Shape
    ) -> None:
        self._parts = stream, height, velocity
        self._flow = flow
        self._shapes = [
            part.control_shape((1, components, *points))[1:]
            for part, components in zip(self._parts, (1, 1, 2), strict=True)
        ]
        self._sizes = [math.prod(shape) for shape in self._shapes]
        self.dtype, self.device = stream.dtype, stream.device
        self._precise: StreamfunctionCovariance | None = None

    def control_shape(self, shape: Shape) -> Shape:
        """One row of numbers for each window: those of the streamfunction, of the height, of the velocity."""
        return shape[0], sum(self._sizes)

    def sqrt(self, control: Tensor) -> Tensor:
        """The flow of a streamfunction, and what is not in balance with it."""
        stream, height, velocity = (
            part.sqrt(numbers.reshape(len(control), *shape))
            for part, numbers, shape in zip(self._parts, control.split(self._sizes, dim=1), self._shapes, strict=True)
        )
        return self._flow(stream) + torch.cat([height, velocity], dim=1)

    def sqrt_transpose(self, state: Tensor) -> Tensor:
        """Adjoint of `sqrt`."""
        stream, height, velocity = self._parts
        parts = (
            stream.sqrt_transpose(self._flow.transpose(state)),
            height.sqrt_transpose(state[:, :1]),
            velocity.sqrt_transpose(state[:, 1:]),
        )
        return torch.cat([part.flatten(1) for part in parts], dim=1)

    def solve(self, state: Tensor) -> Tensor:
        """By conjugate gradients; NaN for a window where they fail."""
        return linear(state, self._solve, self._solve)

    def _solve(self, state: Tensor) -> Tensor:
        operator = self._precise or self
        _, height, velocity = operator._parts

        def preconditioner(residual: Tensor) -> Tensor:
            return torch.cat([height.solve(residual[:, :1]), velocity.solve(residual[:, 1:])], dim=1)

        return conjugate_gradients(operator.apply, state.to(torch.float64), preconditioner, 5000).to(self.dtype)

    def select(self, windows: Tensor) -> StreamfunctionCovariance:
        """The parts of some windows, where they have their own."""
        part = copy(self)
        stream, height, velocity = self._parts
        part._parts = stream.select(windows), height.select(windows), velocity.select(windows)
        part._precise = None if self._precise is None else self._precise.select(windows)
        return part


@dataclass(frozen=True, eq=False)
class Streamfunction(Specification):
    r"""Errors of (height, u, v) on a C grid that a streamfunction links, but for residuals.

    .. math::

        \delta\eta = \frac{f}{f_0} \overline{\zeta}^{xy} + \delta\eta_a, \qquad
        \delta u = -\frac{g}{f_0} \partial_y \zeta + \delta u_a, \qquad
        \delta v = \frac{g}{f_0} \partial_x \zeta + \delta v_a, \qquad
        B = K B_\zeta K^T + \begin{pmatrix} B_\eta & 0 \\ 0 & B_a \end{pmatrix}

    for a component of the state that holds all three, (window, 3, y, x), such as ``flow`` of
    `xvar.dynamics.ShallowWater`. `Geostrophic` starts from the height, whose slopes must be averaged to the velocities
    of a C grid: at four cells a wave it has half of the current that stays in balance there, at two none. Where the
    grid hardly holds the radius of deformation this one is the better balance: the vorticity of filaments, which the
    height hardly shows, is in it.

    Parameters
    ----------
    stream : specification
        :math:`B_\zeta` of the streamfunction in metres of height, :math:`\zeta = f_0 \psi / g`, so that the numbers are
        those of the height: `Matern` with a smoothness of 2 or more.
    height : specification
        :math:`B_\eta` of the height that is out of balance, in metres: the centrifugal force of eddies, waves.
    velocity : specification
        :math:`B_a` of the velocity out of balance, (window, 2, y, x) in m/s.
    coriolis : float
        :math:`f_0` in s-1, in the middle of the grid.
    beta : float
        The slope of f towards larger y in m-1 s-1.
    gravity : float
        g in m s-2.
    edges : {"closed", "periodic", "channel"}, optional
        As of `Geostrophic`.

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
        self, grid: Grid, *, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None
    ) -> StreamfunctionCovariance:
        """Operator on this grid, for states of three components (height, u, v).

        Raises
        ------
        InputError
            Where f is zero, the grid has not two axes, or a word is none of those known.
        """
        operator = self._operator(grid, dtype, device)
        if dtype != torch.float64 and operator.device.type != "meta":
            operator._precise = self._operator(grid, torch.float64, device)
        return operator

    def _operator(self, grid: Grid, dtype: torch.dtype, device: torch.device | str | None) -> StreamfunctionCovariance:
        flow = self.balance(grid, dtype=dtype, device=device)
        stream, height, velocity = (
            part.bind(grid, dtype=dtype, device=device) for part in (self.stream, self.height, self.velocity)
        )
        return StreamfunctionCovariance(stream, height, velocity, flow, grid.shape)

    def balance(
        self, grid: Grid, *, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None
    ) -> BalancedFlow:
        """K on this grid: from a streamfunction to the flow in balance with it."""
        faults = Faults()
        if self.edges not in (None, *BASINS):
            faults.add(
                found=f"edges={self.edges!r}",
                expected=f"one of {', '.join(map(repr, BASINS))}",
                fix=f"edges={BASINS[0]!r}",
            )
        if len(grid.shape) != 2:
            faults.add(found=f"a grid of shape {grid.shape}", expected="two axes (y, x)", fix="give a plane")
        if self.coriolis == 0:
            faults.add(found="coriolis=0", expected="a fluid that rotates", fix="use a covariance without balance")
        faults.raise_if_any()
        edges = self.edges or ("periodic" if grid.edges == "periodic" else "closed")
        periodic = edges == "periodic", edges != "closed"
        return BalancedFlow(grid, self.coriolis, self.beta, self.gravity, periodic, dtype=dtype, device=device)
