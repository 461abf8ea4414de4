"""Semi-Lagrangian advection of tracers and of the motion itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from xvar.core.dynamics import State
from xvar.core.grid import Edges
from xvar.core.interpolate import Sampler, sample
from xvar.core.models.parcels import OnGrid

Departure = Literal["arrival", "end_point", "midpoint", "two_level"]
Motion = Literal["inertial", "steady"]

DEPARTURES: tuple[Departure, ...] = ("arrival", "end_point", "midpoint", "two_level")


@dataclass(frozen=True)
class Advection(OnGrid):
    r"""Advection of tracers and of the motion by itself.

    .. math::

        \partial_t I + w \cdot \nabla I = 0, \qquad
        \partial_t w + w \cdot \nabla w = 0 \;\; \text{or} \;\; \partial_t w = 0.

    One semi-Lagrangian step gives every grid point the values at the departure point of its parcel,
    :math:`I(x, t + \Delta t) = I(x_d, t)`, with :math:`x_d` from one of four rules and the local spacing of the grid.
    The components of an inertial motion are advected as on a plane, without the rotation of the axes
    :math:`u^2 \tan\phi / R`: at 60 degrees north and 20 m/s that is 0.1 m/s in a quarter of an hour.

    Parameters
    ----------
    motion : {"inertial", "steady"}
        The motion is advected by itself, as in the paper, or constant in time.
    departure : {"arrival", "end_point", "midpoint", "two_level"}
        Velocity of the path. ``arrival``: at the arrival point (the paper's; first order). ``end_point``: at the
        departure point, exact for an inertial motion. ``midpoint``: half way, second order for a steady motion.
        ``two_level``: half way in space, and half a step ahead in time by extrapolation from the step before; second
        order for an inertial motion.
    iterations : int
        Fixed-point iterations of the departure point. They converge if :math:`\Delta t \|\nabla w\| < 1`.
    sampler : {"bilinear", "cubic", "monotone"}
        Interpolation, see `xvar.core.interpolate.sample`.
    velocity_edges, tracer_edges : {"free", "zero", "periodic"}
        Inflow: the value of the edge, zero, or that of the opposite edge.
    step : float, optional
        Longest time step in seconds. Default: one step from frame to frame.

    References
    ----------
    Staniforth and Côté (1991), doi:10.1175/1520-0493(1991)119<2206:SLISFA>2.0.CO;2; Filoche et al. (2021).
    """

    motion: Motion = "inertial"
    departure: Departure = "midpoint"
    iterations: int = 3
    sampler: Sampler = "bilinear"
    velocity_edges: Edges = "free"
    tracer_edges: Edges = "free"
    step: float | None = None

    def start(self, state: State) -> State:
        """Return the state with the acceleration over the step before for two levels, zero at first."""
        if self.departure == "two_level":
            return {**state, "acceleration": torch.zeros_like(state["velocity"])}
        return state

    def __call__(self, state: State, seconds: float) -> State:
        """Advect every tracer, and an inertial motion, for `seconds`."""
        origin = self.departure_point(state, seconds)
        inertial = self.motion == "inertial"
        carried = [key for key in state if key != "acceleration" and (inertial or key != "velocity")]
        after = self._carry({key: state[key] for key in carried}, origin)
        if not inertial:
            after["velocity"] = state["velocity"]
        if "acceleration" in state:
            after["acceleration"] = (after["velocity"] - state["velocity"]) / seconds
        return {key: after[key] for key in state}

    def departure_point(self, state: State, seconds: float) -> Tensor:
        """Return the points (window, 2, y, x) in grid units whose parcels reach the grid points after `seconds`."""
        rule = self.departure
        pixels = state["velocity"] * (self.per_metre * seconds)
        if rule == "arrival":
            return self.grid_points - pixels
        if rule == "two_level":
            half_step_ahead = state["velocity"] + 0.5 * seconds * state["acceleration"]
            pixels = half_step_ahead * (self.per_metre * seconds)
        share = 1.0 if rule == "end_point" else 0.5
        shift = pixels
        for _ in range(self.iterations):
            shift = sample(pixels, self.grid_points - share * shift, "bilinear", self.velocity_edges)
        return self.grid_points - shift

    def _carry(self, fields: State, origin: Tensor) -> State:
        """Sample the fields at the departure points, fields with the same edges in one call."""
        sampler = self.sampler
        edges = {key: self.velocity_edges if key == "velocity" else self.tracer_edges for key in fields}
        if set(edges.values()) == {"free", "zero"} and sampler == "bilinear":
            # A ring of cells around the grid, of zeros or of copies, is equivalent to the two kinds of edges.
            rings = [
                pad(values, (1,) * 4) if edges[key] == "zero" else pad(values, (1,) * 4, mode="replicate")
                for key, values in fields.items()
            ]
            return _split(fields, sample(torch.cat(rings, dim=1), origin + 1, sampler, "free"))
        after: State = {}
        for edge in dict.fromkeys(edges.values()):
            group = {key: values for key, values in fields.items() if edges[key] == edge}
            after.update(_split(group, sample(torch.cat(list(group.values()), dim=1), origin, sampler, edge)))
        return after


def _split(fields: State, stacked: Tensor) -> State:
    """Split stacked fields."""
    parts = stacked.split([values.shape[1] for values in fields.values()], dim=1)
    return dict(zip(fields, parts, strict=True))
