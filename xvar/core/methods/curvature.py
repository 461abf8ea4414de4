"""Estimates of the second derivative of J_o by the state, which scale the control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from xvar.core.dynamics import State
from xvar.core.methods.frames import Frames
from xvar.core.methods.points import BEFORE, PointTable
from xvar.core.observation import Observation


def curvatures(
    sources: Sequence[Frames | PointTable],
    observations: Sequence[Sequence[Observation]],
    background: State,
    controlled: Mapping[str, object],
) -> dict[str, Tensor]:
    """Return the curvature of J_o by component, summed over images and over what operators observe."""
    known: dict[str, Tensor] = {}
    for source, own in zip(sources, observations, strict=True):
        found: dict[str, Tensor] = {}
        if source.operator is not None:
            fields = [key for key in controlled if key in background and background[key].ndim > 2]
            found = probed_curvature(own, background, fields)
        elif isinstance(source, Frames):
            found = source.curvature(own)
        for key, part in found.items():
            known[key] = known[key] + part if key in known else part
    return known


def probed_curvature(
    observations: Sequence[Observation], background: State, fields: Sequence[str]
) -> dict[str, Tensor]:
    r"""Estimate the mean curvature of J_o over each component of some fields (window, component, 1, ...), at rest.

    .. math:: E\, (G^T z)_i^2 = (G^T G)_{ii}, \qquad G = \mathrm{diag}(\sigma)^{-1} H'(x_b), \quad z_i = \pm 1

    One probe z is enough for the mean over a field (Hutchinson 1990, doi:10.1080/03610919008812866).
    """
    total = {key: torch.zeros_like(background[key]) for key in fields}
    generator = torch.Generator().manual_seed(0)
    for observation in observations:
        leaves = {key: background[key].detach().requires_grad_() for key in fields}
        with torch.enable_grad():
            now = {**background, **leaves}
            # Smooth departures, which the control holds, do not know how errors correlate from pixel to pixel.
            plain = replace(observation, covariance=None)
            residual = plain.residual({**now, **{key + BEFORE: values for key, values in now.items()}})
        if not residual.requires_grad:
            continue
        probe = torch.randint(0, 2, residual.shape[1:], generator=generator).to(residual) * 2 - 1
        found = torch.autograd.grad(residual, list(leaves.values()), probe.expand(residual.shape), allow_unused=True)
        for key, gradient in zip(leaves, found, strict=True):
            if gradient is not None:
                total[key] += gradient.nan_to_num().square()
    means = {key: part.flatten(2).mean(2) for key, part in total.items()}
    return {
        key: part.reshape(*part.shape, *(1,) * (total[key].ndim - 2))
        for key, part in means.items()
        if bool((part > 0).any())
    }
