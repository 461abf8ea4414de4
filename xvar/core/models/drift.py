"""Parcels of every image in a motion with a model error, and images compared along their paths."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from xvar.core.dynamics import State
from xvar.core.grid import Grid, block_mean
from xvar.core.interpolate import sample
from xvar.core.models.parcels import OnGrid


@dataclass(frozen=True)
class Drift:
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

    def bind(self, grid: Grid, *, dtype: torch.dtype, device: torch.device) -> FollowDrift:
        """Return the model on a grid."""
        return FollowDrift(self, grid, dtype=dtype, device=device)


class FollowDrift(OnGrid):
    """`Drift` on a grid."""

    settings: Drift

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
        if self.settings.reach is not None:
            followed = slice(-self.settings.reach * self.grid_points.shape[2], None)
            position, drift = position[:, :, followed], drift[:, :, followed]
        halfway = torch.add(position, drift, alpha=0.5 * seconds)
        drift = sample(middle * self.per_metre, halfway)
        position = torch.add(position, drift, alpha=seconds)
        if self.settings.reach is not None:
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
    many as the `reach` of `Drift`, `known` their mask, `std` :math:`\sigma_r` and `elapsed` :math:`t - t_r` in seconds
    (1, image, 1, 1). Holes are filled; masks are one at values, zero there, and None without holes. :math:`X_r` are the
    positions, at the time of the image, of the parcels at the grid points of r, and s the ``source`` of the state, per
    second. With `error_std`, :math:`\sigma_0` (window, 1, y, x), the first of the later images is the last of the
    window, whose ``error`` e of unit variance is a component of the state; the errors of the others are in σ alone.
    """

    image: Tensor
    later: Tensor
    std: Tensor
    elapsed: Tensor
    error_std: Tensor | None = None
    mask: Tensor | None = None
    known: Tensor | None = None

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
        image, later, std = (part[windows] for part in (self.image, self.later, self.std))
        optional = {name: getattr(self, name) for name in ("error_std", "mask", "known")}
        chosen: dict[str, Any] = {name: None if part is None else part[windows] for name, part in optional.items()}
        return replace(self, image=image, later=later, std=std, **chosen)

    def coarsen(self, factor: int) -> ImageAgainstLater:
        """Average over blocks of cells; later images over the cells with a value."""
        if self.mask is None or self.known is None:
            image, later, std = (block_mean(part, factor) for part in (self.image, self.later, self.std))
            error_std = None if self.error_std is None else block_mean(self.error_std, factor)
            return replace(self, image=image, later=later, std=std, error_std=error_std)
        filled, known = self.known, block_mean(self.known, factor)

        def where_known(values: Tensor, images: slice = slice(None)) -> Tensor:
            return block_mean(values * filled[:, images], factor) / known[:, images].clamp_min(1e-6)

        first, error_std = slice(1), self.error_std
        if error_std is not None:
            error_std = torch.where(known[:, first] > 0, where_known(error_std, first), 1.0)

        return replace(
            self,
            image=block_mean(self.image, factor),
            later=where_known(self.later),
            std=torch.where(known > 0, where_known(self.std), torch.ones_like(known)),
            error_std=error_std,
            mask=block_mean(self.mask, factor),
            known=known,
        )
