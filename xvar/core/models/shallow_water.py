"""The rotating shallow-water equations on an Arakawa C grid."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from xvar.core.dynamics import State
from xvar.core.grid import Grid
from xvar.core.models.lorenz import runge_kutta
from xvar.errors import Faults

Basin = Literal["closed", "periodic", "channel"]
Conserved = Literal["energy", "enstrophy"]

BASINS: tuple[Basin, ...] = ("closed", "periodic", "channel")
CONSERVED: tuple[Conserved, ...] = ("energy", "enstrophy")
KEY = "flow"

#: Of the frequency beyond which the fourth-order method of Runge and Kutta is unstable, 2.83 over the step: what
#: currents and a raised surface add to the fastest wave at rest must find room below it.
STABLE = 0.75 * 2.8


@dataclass(frozen=True)
class ShallowWater:
    r"""One layer of water that rotates.

    .. math::

        \partial_t u &= q\, V - \partial_x (g \eta + K) - r u + \nu \nabla^2 u, \\
        \partial_t v &= - q\, U - \partial_y (g \eta + K) - r v + \nu \nabla^2 v, \\
        \partial_t \eta &= - \partial_x U - \partial_y V, \\
        h = H + \eta, \quad (U, V) &= h\,(u, v), \quad K = \tfrac12 (u^2 + v^2), \quad
        q = (f + \partial_x v - \partial_y u) / h, \quad f = f_0 + \beta (y - y_0)

    in metres and seconds, :math:`y_0` the middle of the grid. The state has one component ``flow`` (window, 3, y, x):
    the height :math:`\eta` of the surface at the grid points, u half a cell towards larger x, v half a cell towards
    larger y (Arakawa's C grid), so that walls, where the grid is closed, run through the last u and the last v. The
    vector-invariant differences of Sadourny (1975) keep the mass to rounding, and what is asked for of energy or, for
    flow without divergence, potential enstrophy, but for the error of the steps in time (Runge and Kutta's of fourth
    order). They are of second order in space. Water slips freely along walls and coasts. On latitude and longitude the
    lengths of the cells are all that the sphere asks for: written with vorticity and head the equations have no terms
    :math:`u v \tan\phi / R`. f is that of a beta plane.

    For one active layer above a deep one at rest, give the equivalent depth :math:`H = c^2 / g`, c the speed of the
    internal waves: :math:`\eta` is then the height of the sea surface, and H some 0.5 to 1 m.

    Parameters
    ----------
    depth : float
        H in metres.
    coriolis : float
        :math:`f_0` in s-1.
    beta : float
        :math:`\beta` in m-1 s-1; zero where the southern edge is the northern one.
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
        The variables that the three components of the state map to.
    step : float, optional
        Longest time step in seconds. Default: what is stable on the grid, of which the model then makes as many as an
        interval needs.

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
        """The variables that the components of the state map to."""
        return {KEY: self.variables}

    @property
    def offsets(self) -> Mapping[str, tuple[float, float]]:
        """Where the variables lie, in cells along x and along y from the grid points."""
        height, along_x, along_y = self.variables
        return {height: (0.0, 0.0), along_x: (0.5, 0.0), along_y: (0.0, 0.5)}

    def longest_step(self, spacing: tuple[float, ...]) -> float:
        """Longest stable step in seconds on a grid of this spacing in metres (dy, dx)."""
        waves = self.coriolis**2 + 4 * self.gravity * self.depth * sum(d**-2 for d in spacing)
        friction = self.drag + 8 * self.viscosity * sum(d**-2 for d in spacing) / 2
        return STABLE / math.hypot(math.sqrt(waves), friction)

    def bind(self, grid: Grid, *, dtype: torch.dtype, device: torch.device) -> ShallowWaterModel:
        """The model on a grid.

        Raises
        ------
        InputError
            Where a number makes no sense, or the grid has not two axes.
        """
        faults = Faults()
        for name in ("depth", "gravity"):
            if not 0 < getattr(self, name) < math.inf:
                faults.add(found=f"{name}={getattr(self, name)}", expected="a positive number", fix=f"mend {name}")
        for name in ("drag", "viscosity"):
            if not 0 <= getattr(self, name) < math.inf:
                faults.add(found=f"{name}={getattr(self, name)}", expected="a number from zero up", fix=f"mend {name}")
        for name, allowed in (("edges", BASINS), ("conserves", CONSERVED)):
            if getattr(self, name) not in allowed:
                faults.add(
                    found=f"{name}={getattr(self, name)!r}",
                    expected=f"one of {', '.join(map(repr, allowed))}",
                    fix=f"{name}={allowed[0]!r}",
                )
        if self.beta and self.edges == "periodic":
            faults.add(
                found=f'beta={self.beta} with edges="periodic"',
                expected="one f at the southern and the northern edge, which are the same",
                fix='edges="channel"',
            )
        if len(grid.shape) != 2:
            faults.add(found=f"a grid of shape {grid.shape}", expected="two axes (y, x)", fix="give a plane")
        faults.raise_if_any()
        return ShallowWaterModel(self, grid, dtype=dtype, device=device)


class ShallowWaterModel:
    """`ShallowWater` on a grid.

    Attributes
    ----------
    step : float
        Longest time step in seconds; longer ones are cut into equal parts.
    faces : Tensor (3, y, x)
        One where there is a value, zero for velocities through walls and coasts.
    """

    def __init__(self, parameters: ShallowWater, grid: Grid, *, dtype: torch.dtype, device: torch.device) -> None:
        self.parameters = parameters
        self._periodic = parameters.edges == "periodic", parameters.edges != "closed"  # along y, along x
        metric = grid.metric
        spacing = grid.spacing if metric is None else (float(metric[0].min()), float(metric[1].min()))
        self.step = parameters.step or parameters.longest_step(spacing)
        self._open = grid.water is None and all(self._periodic)
        water = torch.ones(grid.shape) if grid.water is None else grid.water.cpu()
        wet = self._around(water.to(torch.float64)[None, None], "zero")[0, 0]
        around = torch.stack([wet[:-1, :-1], wet[:-1, 1:], wet[1:, :-1], wet[1:, 1:]])

        def own(values: Tensor) -> Tensor:
            return values.to(dtype=dtype, device=device)

        here = wet[1:-1, 1:-1]
        self.faces = own(torch.stack([torch.ones_like(here), here * wet[1:-1, 2:], here * wet[2:, 1:-1]]))
        self._walls = own(torch.stack([torch.ones_like(wet), self._first(wet, 1), self._first(wet, 0)]))
        self._inner_corners = own(around.prod(0))
        self._corner_weights = own(around / around.sum(0).clamp_min(1)).unbind(0)
        self._dry_corners = own((around.sum(0) == 0).to(torch.float64))
        self._uniform = metric is None
        dy, dx = self._lengths(grid)
        self._f = own(self._planetary(dy))
        # Lengths at the points where they are used: numbers where they are the same everywhere.
        self._dy_of_flux, self._dx_of_flux = self._kept(_mean_x(dy), own), self._kept(_mean_y(dx), own)
        self._dx_at_u, self._dy_at_u = (self._kept(_mean_x(part)[1:-1, 1:], own) for part in (dx, dy))
        self._dx_at_v, self._dy_at_v = (self._kept(_mean_y(part)[1:, 1:-1], own) for part in (dx, dy))
        self._dy_of_v, self._dx_of_u = self._kept(_mean_y(dy), own), self._kept(_mean_x(dx), own)
        self._area = self._kept((dy * dx)[1:-1, 1:-1], own)
        self._corner_area = self._kept(_mean_x(_mean_y(dy * dx)), own)

    def __call__(self, state: State, seconds: float) -> State:
        """The state `seconds` later."""
        parts = max(1, math.ceil(abs(seconds) / self.step - 1e-9))
        flow = state[KEY]
        if not self._open:
            flow = flow * self.faces
        for _ in range(parts):
            flow = runge_kutta(self.tendency, flow, seconds / parts)
        return {KEY: flow}

    def tendency(self, flow: Tensor) -> Tensor:
        """Rate of change of (window, 3, y, x); nothing flows through walls and coasts."""
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

    def energy(self, flow: Tensor) -> Tensor:
        r"""Energy of each window over the density: :math:`\int \tfrac12 (h (u^2 + v^2) + g \eta^2)`, in m5 s-2."""
        eta, u, v = self._surrounded(flow)
        h = self.parameters.depth + eta
        moving = (_mean_x(h)[:, 1:-1, 1:] * u[:, 1:-1, 1:-1].square()) * (self._dx_at_u * self._dy_at_u)
        moving = moving + (_mean_y(h)[:, 1:, 1:-1] * v[:, 1:-1, 1:-1].square()) * (self._dx_at_v * self._dy_at_v)
        raised = self.parameters.gravity * eta[:, 1:-1, 1:-1].square() * self._area
        total: Tensor = 0.5 * (moving + raised).flatten(1).sum(1)
        return total

    def potential_enstrophy(self, flow: Tensor) -> Tensor:
        r"""Of each window: :math:`\int \tfrac12 h q^2`, in s-2 m."""
        eta, u, v = self._surrounded(flow)
        absolute = self._f + self._curl(u, v)
        density = 0.5 * absolute.square() / self._at_corners(self.parameters.depth + eta) * self._corner_area
        first = [0 if not periodic else 1 for periodic in self._periodic]
        total: Tensor = density[:, first[0] :, first[1] :].flatten(1).sum(1)
        return total

    def _surrounded(self, flow: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Height and velocities (window, y + 2, x + 2); what would come through a wall is zero."""
        whole = self._around(flow, "copy")
        eta, u, v = (whole if self._open else whole * self._walls).unbind(1)
        return eta, u, v

    def _around(self, field: Tensor, beyond: Literal["copy", "zero"]) -> Tensor:
        """A field (window, component, y, x) with a cell more on every side."""
        wall = {"copy": "replicate", "zero": "constant"}[beyond]
        along_y, along_x = ("circular" if periodic else wall for periodic in self._periodic)
        if along_y == along_x:
            return pad(field, (1, 1, 1, 1), mode=along_y)
        return pad(pad(field, (1, 1, 0, 0), mode=along_x), (0, 0, 1, 1), mode=along_y)

    def _first(self, like: Tensor, axis: int) -> Tensor:
        """Zero on the wall before the first cell of an axis, else one."""
        mask = torch.ones_like(like)
        if not self._periodic[axis]:
            mask.select(axis, 0).zero_()
        return mask

    def _at_corners(self, h: Tensor) -> Tensor:
        """Mean over the cells around each corner that are water, (window, y + 1, x + 1)."""
        if self._open:
            return _mean_x(_mean_y(h))
        a, b, c, d = self._corner_weights
        mean = a * h[:, :-1, :-1] + b * h[:, :-1, 1:] + c * h[:, 1:, :-1] + d * h[:, 1:, 1:]
        return mean + self._dry_corners  # nothing turns there, and nothing divides by zero

    def _curl(self, u: Tensor, v: Tensor) -> Tensor:
        """Relative vorticity at the corners, none along walls and coasts."""
        if self._uniform:
            curl: Tensor = _change_x(v[:, :-1]) / self._dx_at_u - _change_y(u[:, :, :-1]) / self._dy_at_v
        else:
            along = _change_x(v[:, :-1] * self._dy_of_v) - _change_y(u[:, :, :-1] * self._dx_of_u)
            curl = along / self._corner_area
        return curl if self._open else curl * self._inner_corners

    def _friction(self, u: Tensor, v: Tensor, curl: Tensor) -> tuple[Tensor, Tensor]:
        """Laplacian of the velocity: the gradient of its divergence minus the curl of its curl."""
        spread = (
            _change_x(u[:, :, :-1] * self._dy_of_flux)[:, 1:-1] + _change_y(v[:, :-1] * self._dx_of_flux)[:, :, 1:-1]
        )
        divergence = self._around((spread / self._area)[:, None], "copy")[:, 0, 1:, 1:]
        along_u = _change_x(divergence)[:, :-1] / self._dx_at_u - _change_y(curl)[:, :, 1:] / self._dy_at_u
        along_v = _change_y(divergence)[:, :, :-1] / self._dy_at_v + _change_x(curl)[:, 1:] / self._dx_at_v
        return along_u, along_v

    def _lengths(self, grid: Grid) -> tuple[Tensor, Tensor]:
        """Local dy and dx in metres, (y + 2, x + 2)."""
        shape = grid.shape[0] + 2, grid.shape[1] + 2
        if grid.metric is None:
            return (
                torch.full(shape, grid.spacing[0], dtype=torch.float64),
                torch.full(shape, grid.spacing[1], dtype=torch.float64),
            )
        dy, dx = self._around(grid.metric.to("cpu", torch.float64)[None], "copy")[0]
        return dy, dx

    def _kept(self, length: Tensor, own: Callable[[Tensor], Tensor]) -> Any:
        return float(length.flatten()[0]) if self._uniform else own(length)

    def _planetary(self, dy: Tensor) -> Tensor:
        """Coriolis parameter at the corners (y + 1, x + 1)."""
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
