"""Parcels of water in a motion that changes, and images whose own error is estimated."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from xvar.core.dynamics import State
from xvar.core.grid import Grid, block_mean
from xvar.core.interpolate import identity, sample


@dataclass(frozen=True)
class Drift:
    r"""Parcels that follow a motion with a model error, and what is added to them.

    .. math:: \dot X = w(X, t), \quad \dot w = \eta, \quad \dot I = s

    A state holds the ``velocity`` w (window, 2, y, x) in m/s, the ``tracer`` I (window, 1, y, x) that came to the
    parcel of each grid point since the time of the control, the ``source`` s per second, and where the model is not
    perfect the ``model_error`` η in m/s², held over the window. `start` adds the ``position`` X in grid units and the
    ``drift``, its speed in the step before, which foretells where the middle of the path is: one interpolation a step,
    second order.
    """

    def bind(self, grid: Grid, *, dtype: torch.dtype, device: torch.device) -> FollowDrift:
        """The model on a grid."""
        return FollowDrift(grid, dtype=dtype, device=device)


class FollowDrift(nn.Module):
    """`Drift` on a grid."""

    grid_points: Tensor
    per_metre: Tensor

    def __init__(self, grid: Grid, *, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__()
        self.register_buffer("grid_points", identity(grid.shape, torch.zeros((), dtype=dtype, device=device)))
        self.register_buffer("per_metre", grid.cells_per_metre(dtype=dtype, device=device))

    def start(self, state: State) -> State:
        """The state with the parcels at the grid points, and their motion in grid units."""
        points = self.grid_points.expand(len(state["velocity"]), -1, -1, -1)
        return {**state, "position": points, "drift": state["velocity"] * self.per_metre}

    def forward(self, state: State, seconds: float) -> State:
        """Follow the parcels, backward in time where `seconds` are negative."""
        after = dict(state)
        middle = state["velocity"]
        if "model_error" in state:
            middle = torch.add(middle, state["model_error"], alpha=0.5 * seconds)
            after["velocity"] = torch.add(state["velocity"], state["model_error"], alpha=seconds)
        halfway = torch.add(state["position"], state["drift"], alpha=0.5 * seconds)
        after["drift"] = sample(middle * self.per_metre, halfway)
        after["position"] = torch.add(state["position"], after["drift"], alpha=seconds)
        after["tracer"] = torch.add(state["tracer"], state["source"], alpha=seconds)
        return after


@dataclass(frozen=True)
class ImageAgainstLast:
    r"""Observation operator: an image where the parcels are, against what the last image says that they carry.

    .. math:: H(x) = m(X) \, (y(X) - y_0 - \sigma_0 e - I) / \sigma, \quad \text{to be compared with zero,}

    with m the mask of the image. The ``error`` e of the last image is a component of the state, of unit variance: it is
    an observation as the others are.

    Parameters
    ----------
    image, last : Tensor (window, 1, y, x)
        y and :math:`y_0`, without holes.
    std, last_std : Tensor (window, 1, y, x)
        σ and :math:`\sigma_0`.
    mask, known : Tensor (window, 1, y, x), optional
        One where y and :math:`y_0` are values, zero where they only fill holes; left out where there are none.
    """

    image: Tensor
    last: Tensor
    std: Tensor
    last_std: Tensor
    mask: Tensor | None = None
    known: Tensor | None = None

    def __call__(self, state: State) -> Tensor:
        """The weighted difference at every parcel (window, 1, y, x)."""
        carried = torch.addcmul(self.last + state["tracer"], self.last_std, state["error"])
        if self.mask is None:
            return (sample(self.image, state["position"]) - carried) / self.std
        both = sample(torch.cat([self.image, self.mask], dim=1), state["position"])
        return (both[:, :1] - both[:, 1:] * carried) / self.std

    def select(self, windows: Tensor) -> ImageAgainstLast:
        """The images of some windows of the batch."""
        parts = (self.image, self.last, self.std, self.last_std, self.mask, self.known)
        return ImageAgainstLast(*(None if part is None else part[windows] for part in parts))  # type: ignore[arg-type]

    def coarsen(self, factor: int) -> ImageAgainstLast:
        """Means over blocks of cells; of cells that hold a value, where the last image is concerned."""
        if self.mask is None or self.known is None:
            parts = (self.image, self.last, self.std, self.last_std)
            return ImageAgainstLast(*(block_mean(part, factor) for part in parts))
        filled, known = self.known, block_mean(self.known, factor)

        def where_known(values: Tensor) -> Tensor:
            return block_mean(values * filled, factor) / known.clamp_min(1e-6)

        return replace(
            self,
            image=block_mean(self.image, factor),
            last=where_known(self.last),
            std=torch.where(known > 0, where_known(self.std), torch.ones_like(known)),
            last_std=where_known(self.last_std),
            mask=block_mean(self.mask, factor),
            known=known,
        )
