"""Balance between errors of height and currents by a streamfunction, on a C grid."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xvar.core.checks import check_plane
from xvar.core.covariance.balance import Balance, northward
from xvar.core.covariance.base import Covariance, Shape, Specification
from xvar.core.covariance.composite import CompositeCovariance, with_precise
from xvar.core.grid import BASINS, Basin, Device, Grid
from xvar.errors import Faults


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
        check_plane(grid, faults)
        if self.coriolis == 0:
            faults.add(
                code="no-rotation",
                found="coriolis=0",
                expected="a Coriolis parameter that is not zero",
                fix="coriolis=1e-4, or a covariance without balance",
            )
        faults.raise_if_any()
        return BalancedFlow(self, grid, dtype=dtype, device=device)
