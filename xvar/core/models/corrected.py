"""A model with a learned part: physics plus the tendency of a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from xvar.core.dynamics import State, start
from xvar.core.grid import Device, Grid


class Corrected(nn.Module):
    r"""A model plus a tendency that a network gives, zero before it is trained.

    .. math::

        \dot x = F(x) + s\, g\, N_\theta(x)

    F is that of the base model, s the scale, g a gain that is learned from zero (Bachlechner et al., 2021). A step of h
    seconds is of second order, with two calls of the network and one of the base model M:

    .. math::

        a = s\, g\, N_\theta(x), \quad x' = M_h(x + \tfrac{h}{2} a), \quad
        x(t + h) = x' + \tfrac{h}{2} s\, g\, N_\theta(x' + \tfrac{h}{2} a).

    Keys and shapes of the state are those of the base model, and so are its components and its longest step.

    Parameters
    ----------
    base : specification or callable (state, seconds) -> state
        The known part.
    network : torch.nn.Module
        From (window, channel, \*grid) to the same shape; the channels are those of the `components`, in their order. It
        treats each window alone (no batch normalisation) and computes in the precision of its own weights.
    components : sequence of str, optional
        What the network sees and corrects. Default: all components, in the order of the state.
    scale : float
        Typical size of the correction, in units of the state per second: the network then works with numbers of about
        one.

    References
    ----------
    Bachlechner et al. (2021) ReZero is all you need: fast convergence at large depth, arXiv:2003.04887.
    """

    def __init__(
        self, base: Any, network: nn.Module, *, components: Sequence[str] | None = None, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.base, self.network, self.scale = base, network, scale
        self.corrected = None if components is None else tuple(components)
        self.gain = nn.Parameter(torch.zeros(()))

    def bind(self, grid: Grid, *, dtype: torch.dtype, device: Device) -> Corrected:
        """Return the model with its base bound to a grid, and the same weights."""
        base = self.base.bind(grid, dtype=dtype, device=device) if hasattr(self.base, "bind") else self.base
        bound = Corrected(base, self.network, components=self.corrected, scale=self.scale)
        bound.gain = self.gain
        return bound

    def __getattr__(self, name: str) -> Any:
        """Return what the base model states of itself, such as its longest step."""
        if name in ("step", "components", "edges", "offsets"):
            return getattr(self.base, name)
        return super().__getattr__(name)

    def start(self, state: State) -> State:
        """Complete the initial state, if the base model does."""
        return start(self.base, state)

    def forward(self, state: State, seconds: float) -> State:
        """Advance the state by one step."""
        first = self._tendency(state)
        moved = dict(self.base(_plus(state, first, 0.5 * seconds), seconds))
        second = self._tendency(_plus(moved, first, 0.5 * seconds))
        return _plus(moved, second, 0.5 * seconds)

    def _tendency(self, state: State) -> State:
        keys = tuple(state) if self.corrected is None else self.corrected
        weight = next(self.network.parameters(), self.gain)
        stacked = torch.cat([state[key] for key in keys], dim=1)
        found = (self.scale * self.gain) * self.network(stacked.to(weight.dtype))
        parts = found.to(stacked.dtype).split([state[key].shape[1] for key in keys], dim=1)
        return dict(zip(keys, parts, strict=True))


def _plus(state: State, tendency: State, seconds: float) -> State:
    return {key: values + seconds * tendency[key] if key in tendency else values for key, values in state.items()}
