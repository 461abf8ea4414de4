"""The rotating shallow-water equations on an Arakawa C grid."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from xvar.core.dynamics import State, runge_kutta
from xvar.core.grid import BASINS, Basin, Grid
from xvar.errors import Faults

Conserved = Literal["energy", "enstrophy"]

CONSERVED: tuple[Conserved, ...] = ("energy", "enstrophy")
KEY = "flow"

#: Frequency times the step. The fourth-order Runge-Kutta method is stable up to 2.83; a quarter is left for currents
#: and a raised surface, which add to the fastest wave at rest.
STABLE = 0.75 * 2.8


@dataclass(frozen=True)
class ShallowWater:
    r"""The rotating shallow-water equations of one layer.

    .. math::

        \partial_t u &= q\, V - \partial_x (g \eta + K) - r u + \nu \nabla^2 u, \\
        \partial_t v &= - q\, U - \partial_y (g \eta + K) - r v + \nu \nabla^2 v, \\
        \partial_t \eta &= - \partial_x U - \partial_y V, \\
        h = H + \eta, \quad (U, V) &= h\,(u, v), \quad K = \tfrac12 (u^2 + v^2), \quad
        q = (f + \partial_x v - \partial_y u) / h, \quad f = f_0 + \beta (y - y_0)

    in metres and seconds, :math:`y_0` the middle of the grid. The state has one component ``flow`` (window, 3, y, x):
    the height :math:`\eta` of the surface at the grid points, u half a cell towards larger x, v half a cell towards
    larger y (Arakawa's C grid); the walls of a closed grid run through the last u and the last v. The vector-invariant
    differences of Sadourny (1975), of second order in space, conserve mass to rounding and, up to the error of the
    Runge-Kutta steps, energy or (for flow without divergence) potential enstrophy. Water slips freely along walls and
    coasts. On latitude and longitude the sphere enters by the lengths of the cells alone: in vector-invariant form the
    equations have no terms :math:`u v \tan\phi / R`. f is that of a beta plane.

    For one active layer above a deep one at rest, give the equivalent depth :math:`H = c^2 / g`, c the speed of
    internal waves, 0.5 to 1 m: :math:`\eta` is then the height of the sea surface.

    Parameters
    ----------
    depth : float
        H in metres.
    coriolis : float
        :math:`f_0` in s-1.
    beta : float
        :math:`\beta` in m-1 s-1; zero with periodic edges.
    gravity : float
        g in m s-2.
    edges : {"closed", "periodic", "channel"}
        Walls on all sides; none; or walls in the south and the north only.
    conserves : {"energy", "enstrophy"}
        Energy by :math:`\overline{q \overline{V}^x}^y`, potential enstrophy by
        :math:`\overline{q}^y \overline{V}^{xy}`, which stays smoother in eddies.
    drag : float
        r in s-1.
    viscosity : float
        :math:`\nu` in m2 s-1.
    variables : tuple of str
        Variables of the three components of the state.
    step : float, optional
        Longest time step in seconds; longer intervals are cut into equal steps. Default: the longest stable one.

    References
    ----------
    Sadourny, R. (1975) The dynamics of finite-difference models of the shallow-water equations,
    doi:10.1175/1520-0469(1975)032<0680:TDOFDM>2.0.CO;2.
    Arakawa, A., Lamb, V. R. (1977) Computational design of the basic dynamical processes of the UCLA general
    circulation model, doi:10.1016/B978-0-12-460817-7.50009-4.
    """

    depth: float
    coriolis: float = 1e-4
    beta: float = 0.0
    gravity: float = 9.81
    edges: Basin = "closed"
    conserves: Conserved = "enstrophy"
    drag: float = 0.0
    viscosity: float = 0.0
    variables: tuple[str, str, str] = ("height", "u", "v")
    step: float | None = None

    @property
    def components(self) -> Mapping[str, tuple[str, ...]]:
        """Variables of the components of the state."""
        return {KEY: self.variables}

    @property
    def offsets(self) -> Mapping[str, tuple[float, float]]:
        """Offsets of the variables from the grid points, in cells along x and y."""
        height, along_x, along_y = self.variables
        return {height: (0.0, 0.0), along_x: (0.5, 0.0), along_y: (0.0, 0.5)}

    def longest_step(self, spacing: tuple[float, ...]) -> float:
        """Return the longest stable step in seconds for a spacing (dy, dx) in metres."""
        waves = self.coriolis**2 + 4 * self.gravity * self.depth * sum(d**-2 for d in spacing)
        friction = self.drag + 8 * self.viscosity * sum(d**-2 for d in spacing) / 2
        return STABLE / math.hypot(math.sqrt(waves), friction)

    def bind(self, grid: Grid, *, dtype: torch.dtype, device: torch.device) -> ShallowWaterModel:
        """Return the model on a grid. Raises InputError for a number or an option out of range."""
        faults = Faults()
        faults.check_numbers(self, {"depth": 100.0, "gravity": 9.81})
        faults.check_numbers(self, {"drag": 0.0, "viscosity": 0.0}, zero_allowed=True)
        faults.check_choice("edges", self.edges, BASINS, "closed")
        faults.check_choice("conserves", self.conserves, CONSERVED, "enstrophy")
        if self.beta and self.edges == "periodic":
            faults.add(
                code="beta-on-periodic-grid",
                found=f'beta={self.beta} with edges="periodic"',
                expected="the same f at the southern and the northern edge",
                fix='edges="channel"',
            )
        grid.check_plane(faults)
        faults.raise_if_any()
        return ShallowWaterModel(self, grid, dtype=dtype, device=device)


class ShallowWaterModel:
    """`ShallowWater` on a grid.

    `step` is the longest time step in seconds; longer ones are cut into equal parts. `faces` (3, y, x) is zero for
    velocities through walls and coasts, else one.
    """

    def __init__(self, parameters: ShallowWater, grid: Grid, *, dtype: torch.dtype, device: torch.device) -> None:
        self.parameters = parameters
        self._periodic = parameters.edges == "periodic", parameters.edges != "closed"  # along y, along x
        self._uniform = grid.metric is None
        lengths = torch.stack(grid.lengths())
        spacing = grid.spacing if self._uniform else tuple(lengths.amin((1, 2)).tolist())
        self.step = parameters.step or parameters.longest_step(spacing)
        self._open = grid.water is None and all(self._periodic)
        wet = self._around(grid.wet()[None, None], "zero")[0, 0]
        around = torch.stack([wet[:-1, :-1], wet[:-1, 1:], wet[1:, :-1], wet[1:, 1:]])

        def own(values: Tensor) -> Tensor:
            return values.to(dtype=dtype, device=device)

        def kept(length: Tensor) -> Any:
            """Return lengths at their points, as a float on a uniform grid."""
            return float(length.flatten()[0]) if self._uniform else own(length)

        here = wet[1:-1, 1:-1]
        self.faces = own(torch.stack([torch.ones_like(here), here * wet[1:-1, 2:], here * wet[2:, 1:-1]]))
        self._walls = own(torch.stack([torch.ones_like(wet), self._first(wet, 1), self._first(wet, 0)]))
        self._inner_corners = own(around.prod(0))
        self._corner_weights = own(around / around.sum(0).clamp_min(1)).unbind(0)
        self._dry_corners = own((around.sum(0) == 0).to(torch.float64))
        dy, dx = self._around(lengths[None], "copy")[0]
        self._f = own(self._planetary(dy))
        self._dy_of_flux, self._dx_of_flux = kept(_mean_x(dy)), kept(_mean_y(dx))
        self._dx_at_u, self._dy_at_u = (kept(_mean_x(part)[1:-1, 1:]) for part in (dx, dy))
        self._dx_at_v, self._dy_at_v = (kept(_mean_y(part)[1:, 1:-1]) for part in (dx, dy))
        self._dy_of_v, self._dx_of_u = kept(_mean_y(dy)), kept(_mean_x(dx))
        self._area = kept((dy * dx)[1:-1, 1:-1])
        self._corner_area = kept(_mean_x(_mean_y(dy * dx)))

    def __call__(self, state: State, seconds: float) -> State:
        """Return the state `seconds` later."""
        parts = max(1, math.ceil(abs(seconds) / self.step - 1e-9))
        flow = state[KEY]
        if not self._open:
            flow = flow * self.faces
        for _ in range(parts):
            flow = runge_kutta(self.tendency, flow, seconds / parts)
        return {KEY: flow}

    def tendency(self, flow: Tensor) -> Tensor:
        """Return the rate of change of (window, 3, y, x), without flow through walls and coasts."""
        # Index 0 is the cell before the first. Corners have an index less: c[j, i] lies between cells j, j + 1.
        eta, u, v = self._surrounded(flow)
        h = self.parameters.depth + eta
        flux_x = _mean_x(h) * u[:, :, :-1] * self._dy_of_flux
        flux_y = _mean_y(h) * v[:, :-1] * self._dx_of_flux
        curl = self._curl(u, v)
        spin = (self._f + curl) / self._at_corners(h)
        if self.parameters.conserves == "energy":
            turned_u = _mean_y(spin * _mean_x(flux_y))[:, :, 1:]
            turned_v = _mean_x(spin * _mean_y(flux_x))[:, 1:]
        else:
            turned_u = (_mean_y(spin) * _mean_y(_mean_x(flux_y)))[:, :, 1:]
            turned_v = (_mean_x(spin) * _mean_x(_mean_y(flux_x)))[:, 1:]
        squares_u, squares_v = u.square(), v.square()
        head = self.parameters.gravity * eta[:, 1:, 1:] + 0.5 * (
            _mean_x(squares_u)[:, 1:] + _mean_y(squares_v)[:, :, 1:]
        )
        rate_u = (turned_u - _change_x(head)[:, :-1]) / self._dx_at_u
        rate_v = (-turned_v - _change_y(head)[:, :, :-1]) / self._dy_at_v
        rate_eta = -(_change_x(flux_x)[:, 1:-1] + _change_y(flux_y)[:, :, 1:-1]) / self._area
        if self.parameters.viscosity:
            friction_u, friction_v = self._friction(u, v, curl)
            rate_u = torch.add(rate_u, friction_u, alpha=self.parameters.viscosity)
            rate_v = torch.add(rate_v, friction_v, alpha=self.parameters.viscosity)
        if self.parameters.drag:
            rate_u = torch.sub(rate_u, u[:, 1:-1, 1:-1], alpha=self.parameters.drag)
            rate_v = torch.sub(rate_v, v[:, 1:-1, 1:-1], alpha=self.parameters.drag)
        rate = torch.stack((rate_eta, rate_u, rate_v), dim=1)
        return rate if self._open else rate * self.faces

    def _surrounded(self, flow: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return height and velocities (window, y + 2, x + 2), zero for flow through walls."""
        whole = self._around(flow, "copy")
        eta, u, v = (whole if self._open else whole * self._walls).unbind(1)
        return eta, u, v

    def _around(self, field: Tensor, beyond: Literal["copy", "zero"]) -> Tensor:
        """Append a cell on every side of a field (window, component, y, x)."""
        wall = {"copy": "replicate", "zero": "constant"}[beyond]
        along_y, along_x = ("circular" if periodic else wall for periodic in self._periodic)
        if along_y == along_x:
            return pad(field, (1, 1, 1, 1), mode=along_y)
        return pad(pad(field, (1, 1, 0, 0), mode=along_x), (0, 0, 1, 1), mode=along_y)

    def _first(self, like: Tensor, axis: int) -> Tensor:
        """Return zero on the wall before the first cell of an axis, else one."""
        mask = torch.ones_like(like)
        if not self._periodic[axis]:
            mask.select(axis, 0).zero_()
        return mask

    def _at_corners(self, h: Tensor) -> Tensor:
        """Return the mean over the water cells around each corner, (window, y + 1, x + 1)."""
        if self._open:
            return _mean_x(_mean_y(h))
        a, b, c, d = self._corner_weights
        mean = a * h[:, :-1, :-1] + b * h[:, :-1, 1:] + c * h[:, 1:, :-1] + d * h[:, 1:, 1:]
        return mean + self._dry_corners  # no division by zero; the curl is zero there

    def _curl(self, u: Tensor, v: Tensor) -> Tensor:
        """Return the relative vorticity at the corners, zero along walls and coasts."""
        if self._uniform:
            curl: Tensor = _change_x(v[:, :-1]) / self._dx_at_u - _change_y(u[:, :, :-1]) / self._dy_at_v
        else:
            along = _change_x(v[:, :-1] * self._dy_of_v) - _change_y(u[:, :, :-1] * self._dx_of_u)
            curl = along / self._corner_area
        return curl if self._open else curl * self._inner_corners

    def _friction(self, u: Tensor, v: Tensor, curl: Tensor) -> tuple[Tensor, Tensor]:
        """Return the Laplacian of the velocity: the gradient of its divergence minus the curl of its curl."""
        spread = (
            _change_x(u[:, :, :-1] * self._dy_of_flux)[:, 1:-1] + _change_y(v[:, :-1] * self._dx_of_flux)[:, :, 1:-1]
        )
        divergence = self._around((spread / self._area)[:, None], "copy")[:, 0, 1:, 1:]
        along_u = _change_x(divergence)[:, :-1] / self._dx_at_u - _change_y(curl)[:, :, 1:] / self._dy_at_u
        along_v = _change_y(divergence)[:, :, :-1] / self._dy_at_v + _change_x(curl)[:, 1:] / self._dx_at_v
        return along_u, along_v

    def _planetary(self, dy: Tensor) -> Tensor:
        """Return the Coriolis parameter at the corners (y + 1, x + 1)."""
        rows = _mean_x(dy)[1:-1]
        edges = torch.cat([torch.zeros_like(rows[:1]), rows.cumsum(0)])
        return self.parameters.coriolis + self.parameters.beta * (edges - 0.5 * edges[-1])


def _mean_x(field: Tensor) -> Tensor:
    return 0.5 * (field[..., :-1] + field[..., 1:])


def _mean_y(field: Tensor) -> Tensor:
    return 0.5 * (field[..., :-1, :] + field[..., 1:, :])


def _change_x(field: Tensor) -> Tensor:
    return field[..., 1:] - field[..., :-1]


def _change_y(field: Tensor) -> Tensor:
    return field[..., 1:, :] - field[..., :-1, :]
