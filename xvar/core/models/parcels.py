"""Lagrangian parcels that follow a motion and keep or change their values.

The tracer is interpolated once for any number of steps, while a semi-Lagrangian model interpolates, and blurs, at every
step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from xvar.core.dynamics import State
from xvar.core.grid import Grid, block_mean
from xvar.core.interpolate import identity, sample


@dataclass(frozen=True)
class Parcels:
    r"""Parcels that follow a motion, and their tracer.

    .. math:: \dot X = w(X) + q(X, t), \qquad \dot I = s(t), \qquad
        q(t) = q(0)\, e^{-|t| / \tau_q}, \qquad s(t) = s(0)\, e^{-|t| / \tau_s}

    A state holds the ``velocity`` w (window, 2, y, x) in m/s on the grid and the ``tracer`` I (window, 1, y, x) of the
    parcel at each grid point at the time of the control. `start` adds their ``position`` X in grid units. With the
    lifetimes :math:`\tau_q, \tau_s` in seconds (`transient`, `source`), it also holds the ``transient`` part q of the
    motion (window, 2, y, x) and the ``source`` s (window, 1, y, x) of each parcel, per second: they decay to either
    side in time, as the expectation of an Ornstein-Uhlenbeck process with a known value at one time. `iterations` of
    the fixed point of the middle of a step make it second order.
    """

    transient: float | None = None
    source: float | None = None
    iterations: int = 1

    def bind(self, grid: Grid, *, dtype: torch.dtype, device: torch.device) -> FollowParcels:
        """Return the model on a grid."""
        return FollowParcels(self, grid, dtype=dtype, device=device)


class OnGrid:
    """Settings of a model on a grid, with the grid points (1, 2, y, x) in grid units and the cells in a metre."""

    def __init__(self, settings: Any, grid: Grid, *, dtype: torch.dtype, device: torch.device) -> None:
        self.settings = settings
        self.grid_points = identity(grid.shape, torch.zeros((), dtype=dtype, device=device))
        self.per_metre = grid.cells_per_metre(dtype=dtype, device=device)


class FollowParcels(OnGrid):
    """`Parcels` on a grid."""

    settings: Parcels

    def start(self, state: State) -> State:
        """Return the state with the parcels at the grid points."""
        return {**state, "position": self.grid_points.expand(state["velocity"].shape[0], -1, -1, -1)}

    def __call__(self, state: State, seconds: float) -> State:
        """Move the parcels for `seconds`, backward in time if negative."""
        after = dict(state)
        after["position"] = self.follow(self.mean_velocity(state, seconds), state["position"], seconds)
        if self.settings.source is not None:
            grown = decay_integral(seconds, self.settings.source)
            after["tracer"] = torch.add(state["tracer"], state["source"], alpha=grown)
        for key, lifetime in (("transient", self.settings.transient), ("source", self.settings.source)):
            if lifetime is not None:
                after[key] = state[key] * math.exp(-abs(seconds) / lifetime)
        return after

    def mean_velocity(self, state: State, seconds: float) -> Tensor:
        """Return the mean motion over the next `seconds`."""
        lifetime = self.settings.transient
        if lifetime is None:
            return state["velocity"]
        return torch.add(state["velocity"], state["transient"], alpha=decay_integral(seconds, lifetime) / seconds)

    def follow(self, velocity: Tensor, position: Tensor, seconds: float) -> Tensor:
        """Return the positions after `seconds` of parcels at `position` (window, 2, y, x), in grid units."""
        cells = velocity * (self.per_metre * seconds)
        at_grid_points = position.data_ptr() == self.grid_points.data_ptr()
        shift = cells if at_grid_points else sample(cells, position)
        for _ in range(self.settings.iterations):
            shift = sample(cells, torch.add(position, shift, alpha=0.5))
        return position + shift


def compose_displacements(position: Tensor, paths: Tensor, grid_points: Tensor) -> Tensor:
    """Return the end points of parcels at `position`, from the end points `paths` of those at the grid points."""
    return position + sample((paths - grid_points).expand(len(position), -1, -1, -1), position)


def decay_integral(seconds: float, lifetime: float) -> float:
    r"""Return :math:`\int_0^t e^{-|t'| / \tau} dt'`, negative for negative t."""
    return math.copysign(-lifetime * math.expm1(-abs(seconds) / lifetime), seconds)


@dataclass(frozen=True)
class ImageAtParcels:
    r"""Observation operator: an image (window, 1, y, x) at the parcels, minus their tracer.

    .. math:: H(x) = m(X) (y(X) - I), \quad \text{to be compared with zero,}

    with y the image and m its mask, zero at values that are not finite, both interpolated: edges of holes count in
    proportion.
    """

    image: Tensor
    mask: Tensor | None = None

    def __post_init__(self) -> None:
        """Fill the holes with zeros, and keep their mask."""
        if self.mask is None and not bool(self.image.isfinite().all()):
            valid = self.image.isfinite()
            object.__setattr__(self, "image", torch.where(valid, self.image, torch.zeros_like(self.image)))
            object.__setattr__(self, "mask", valid.to(self.image.dtype))

    def __call__(self, state: State) -> Tensor:
        """Return the difference at every parcel (window, 1, y, x)."""
        if self.mask is None:
            return sample(self.image, state["position"]) - state["tracer"]
        both = sample(torch.cat([self.image, self.mask], dim=1), state["position"])
        # Interpolated ones are one to rounding only; an image without holes keeps the bits that it has alone.
        seen = torch.where(self.complete, 1.0, both[:, 1:])
        return both[:, :1] - seen * state["tracer"]

    @cached_property
    def complete(self) -> Tensor:
        """True for images without holes (window, 1, 1, 1)."""
        assert self.mask is not None
        return (self.mask == 1).flatten(1).all(1)[:, None, None, None]

    def select(self, windows: Tensor) -> ImageAtParcels:
        """Return the operator of some windows."""
        return replace(self, image=self.image[windows], mask=None if self.mask is None else self.mask[windows])

    def coarsen(self, factor: int) -> ImageAtParcels:
        """Average the image and its mask over blocks of cells."""
        mask = None if self.mask is None else block_mean(self.mask, factor)
        return replace(self, image=block_mean(self.image, factor), mask=mask)
