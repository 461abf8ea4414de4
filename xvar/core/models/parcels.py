"""Lagrangian parcels that follow a motion, and images compared along their paths.

The tracer is interpolated once for any number of steps, while a semi-Lagrangian model interpolates, and blurs, at every
step.
"""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor

from xvar.core.dynamics import State
from xvar.core.grid import Box, Grid, block_mean, crop
from xvar.core.interpolate import identity, sample

Model = TypeVar("Model", bound="OnGrid")


class OnGrid:
    """A model whose step depends on the grid: bound, it has the grid points and the cells in a metre."""

    grid_shape: tuple[int, ...]
    per_metre: Tensor  # along x and y, (1, 2, 1, 1), or (1, 2, y, x) if the spacing varies

    def bind(self: Model, grid: Grid, *, dtype: torch.dtype, device: torch.device) -> Model:
        """Return the model on a grid."""
        bound = copy(self)
        vars(bound).pop("grid_points", None)
        object.__setattr__(bound, "grid_shape", grid.shape)
        object.__setattr__(bound, "per_metre", grid.cells_per_metre(dtype=dtype, device=device))
        return bound

    @cached_property
    def grid_points(self) -> Tensor:
        """Grid points (1, 2, y, x), in grid units; compiled code does not need them."""
        return identity(self.grid_shape, self.per_metre.new_zeros(()))


@dataclass(frozen=True)
class Parcels(OnGrid):
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

    def start(self, state: State) -> State:
        """Return the state with the parcels at the grid points."""
        return {**state, "position": self.grid_points.expand(state["velocity"].shape[0], -1, -1, -1)}

    def __call__(self, state: State, seconds: float) -> State:
        """Move the parcels for `seconds`, backward in time if negative."""
        after = dict(state)
        velocity = state["velocity"]
        if self.transient is not None:
            mean = decay_integral(seconds, self.transient) / seconds
            velocity = torch.add(velocity, state["transient"], alpha=mean)
        after["position"] = self.follow(velocity, state["position"], seconds)
        if self.source is not None:
            grown = decay_integral(seconds, self.source)
            after["tracer"] = torch.add(state["tracer"], state["source"], alpha=grown)
        for key, lifetime in (("transient", self.transient), ("source", self.source)):
            if lifetime is not None:
                after[key] = state[key] * math.exp(-abs(seconds) / lifetime)
        return after

    def follow(self, velocity: Tensor, position: Tensor, seconds: float) -> Tensor:
        """Return the positions after `seconds` of parcels at `position` (window, 2, y, x), in grid units."""
        cells = velocity * (self.per_metre * seconds)
        at_grid_points = position.data_ptr() == self.grid_points.data_ptr()
        shift = cells if at_grid_points else sample(cells, position)
        for _ in range(self.iterations):
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

    def crop(self, box: Box) -> ImageAtParcels:
        """Return the part of the image in a box; parcels outside see its edges."""
        return replace(self, image=crop(self.image, box), mask=None if self.mask is None else crop(self.mask, box))


@dataclass(frozen=True)
class Drift(OnGrid):
    r"""Parcels that follow a motion with a model error, from image to image.

    .. math:: \dot X = w(X, t), \quad \dot w = \eta

    A state holds the ``velocity`` w (window, 2, y, x) in m/s and, with the weak constraint, the ``model_error`` η in
    m/s², constant over the window. `start` adds the ``position`` X in grid units (window, 2, rows, x) of a parcel at
    each grid point, and the ``drift``, its velocity in the step before, which predicts the middle of the path: one
    interpolation a step, second order. With `reach`, the number of steps for which the parcels of each image are
    followed, every step (which ends at an image) appends the parcels at the grid points then as further rows. Default:
    only the parcels of the first image, for all steps.
    """

    reach: int | None = None

    def start(self, state: State) -> State:
        """Return the state with the parcels at the grid points, and their velocity in grid units."""
        points = self.grid_points.expand(len(state["velocity"]), -1, -1, -1)
        return {**state, "position": points, "drift": state["velocity"] * self.per_metre}

    def __call__(self, state: State, seconds: float) -> State:
        """Move the parcels, backward in time for negative `seconds`, and append those at the grid points."""
        after = dict(state)
        middle = state["velocity"]
        if "model_error" in state:
            middle = torch.add(middle, state["model_error"], alpha=0.5 * seconds)
            after["velocity"] = torch.add(state["velocity"], state["model_error"], alpha=seconds)
        position, drift = state["position"], state["drift"]
        if self.reach is not None:
            followed = slice(-self.reach * self.grid_points.shape[2], None)
            position, drift = position[:, :, followed], drift[:, :, followed]
        halfway = torch.add(position, drift, alpha=0.5 * seconds)
        drift = sample(middle * self.per_metre, halfway)
        position = torch.add(position, drift, alpha=seconds)
        if self.reach is not None:
            points = self.grid_points.expand(len(position), -1, -1, -1)
            position = torch.cat([position, points], dim=2)
            drift = torch.cat([drift, after["velocity"] * self.per_metre], dim=2)
        return {**after, "position": position, "drift": drift}


@dataclass(frozen=True)
class ImageAgainstLater:
    r"""Observation operator: an image at the parcels of later images, minus those images.

    .. math:: H_r(x) = m(X_r) \, (y(X_r) - y_r - (t - t_r)\, s - \sigma_0 e_r) / \sigma_r, \quad
        \text{to be compared with zero,}

    with y the image (window, 1, y, x) and m its `mask`, r the later images (window, image, y, x), the latest first, as
    many as the `reach` of `Drift`, `known` where these have values, and `elapsed` :math:`t - t_r` in seconds
    (1, image, 1, 1). Holes are filled; the mask is one at values, zero there, and None without holes. :math:`X_r` are
    the positions, at the time of the image, of the parcels at the grid points of r, and s the ``source`` of the state,
    per second. With `error_std`, :math:`\sigma_0` (window, 1, y, x), the first of the later images is the last of the
    window, whose ``error`` e of unit variance is a component of the state; the errors of the others are in σ alone.

    .. math:: \sigma_r = \epsilon + b_r d_r

    with the `error` ε, the `difference` d (window, image, y, x) to the neighbours in r, which all operators share, and
    the `slope` b (1, image, 1, 1): σ of all pairs would take as many fields. In blocks of cells d is the mean σ.
    """

    image: Tensor
    later: Tensor
    elapsed: Tensor
    error: float
    difference: Tensor
    slope: Tensor
    error_std: Tensor | None = None
    mask: Tensor | None = None
    known: Tensor | None = None  # bool, or the known share of blocks of cells

    def deviation(self) -> Tensor:
        """Return σ_r (window, image, y, x)."""
        return self.error + self.difference * self.slope

    @cached_property
    def std(self) -> Tensor:
        """σ_r, kept from one evaluation of the operator to the next."""
        return self.deviation()

    def __call__(self, state: State) -> Tensor:
        """Return the weighted differences at every parcel (window, image, y, x)."""
        rows = self.later.shape[1] * self.later.shape[2]
        position = state["position"][:, :, :rows]
        carried = torch.addcmul(self.later, self.elapsed, state["source"])
        if self.error_std is not None:
            first = torch.addcmul(carried[:, :1], self.error_std, state["error"])
            carried = first if carried.shape[1] == 1 else torch.cat([first, carried[:, 1:]], dim=1)
        if self.mask is None:
            return (sample(self.image, position).view(carried.shape) - carried) / self.std
        seen, share = sample(torch.cat([self.image, self.mask], dim=1), position).unbind(1)
        return (seen.reshape(carried.shape) - share.reshape(carried.shape) * carried) / self.std

    def select(self, windows: Tensor) -> ImageAgainstLater:
        """Return the operator of some windows."""
        names = ("image", "later", "difference", "error_std", "mask", "known")
        return replace(self, **{name: part[windows] for name in names if (part := getattr(self, name)) is not None})

    def coarsen(self, factor: int) -> ImageAgainstLater:
        """Average over blocks of cells; later images over the cells with a value."""
        blocks = replace(self, error=0.0, slope=torch.ones_like(self.slope))
        if self.mask is None or self.known is None:
            image, later, std = (block_mean(part, factor) for part in (self.image, self.later, self.deviation()))
            error_std = None if self.error_std is None else block_mean(self.error_std, factor)
            return replace(blocks, image=image, later=later, difference=std, error_std=error_std)
        filled = self.known.to(self.later)
        known = block_mean(filled, factor)

        def where_known(values: Tensor, images: slice = slice(None)) -> Tensor:
            return block_mean(values * filled[:, images], factor) / known[:, images].clamp_min(1e-6)

        first, error_std = slice(1), self.error_std
        if error_std is not None:
            error_std = torch.where(known[:, first] > 0, where_known(error_std, first), 1.0)

        return replace(
            blocks,
            image=block_mean(self.image, factor),
            later=where_known(self.later),
            difference=torch.where(known > 0, where_known(self.deviation()), torch.ones_like(known)),
            error_std=error_std,
            mask=block_mean(self.mask, factor),
            known=known,
        )
