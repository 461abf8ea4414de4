"""Images moved along exact paths of a given velocity, for twin experiments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from xvar.core.interpolate import identity, sample

#: Points of the interpolation of the image along each axis, and order of its error.
STENCIL = 8
#: Spacing of the grid over that of the image.
FINER = 4
#: Longest displacement of a parcel in a step, in cells.
LONGEST_DISPLACEMENT = 0.2


@dataclass(frozen=True)
class RandomImage:
    r"""A periodic Gaussian random field with a one-dimensional spectrum :math:`k^{-p}`, also between grid points.

    .. math:: I(X) = \sum_k \hat I_k e^{i k \cdot X}, \qquad E|\hat I_k|^2 \propto |k|^{-(p + 1)}, \qquad
        0 < |k| \le k_\mathrm{Nyquist}

    Interpolated by Lagrange polynomials of degree 7 along each axis, from `values` (1, 1, y, x) in float64, without
    their mean, on a grid `FINER` times as fine as its shortest wave needs. The period is twice the domain, so inflow is
    new. Wavelengths are in cells, equal along x and y even if the spacing differs.
    """

    values: Tensor

    @classmethod
    def draw(cls, shape: tuple[int, int], exponent: float, generator: torch.Generator) -> RandomImage:
        """Draw a field of unit standard deviation over a domain of this many points."""
        periods = [2 * n + n % 2 for n in shape]
        fine = [FINER * n for n in periods]
        waves = torch.meshgrid(*(torch.fft.fftfreq(n, 1 / n, dtype=torch.float64) for n in fine), indexing="ij")
        # Cycles in a cell, along both axes.
        number = torch.hypot(waves[0] / periods[0], waves[1] / periods[1])
        kept = (number > 0) & (number <= 0.5)
        amplitude = torch.where(kept, number.clamp_min(1e-12) ** (-(exponent + 1) / 2), 0.0)
        noise = torch.fft.fft2(torch.randn(fine, generator=generator, dtype=torch.float64))
        values = torch.fft.ifft2(noise * amplitude).real[None, None]
        inside = values[..., : FINER * shape[0] : FINER, : FINER * shape[1] : FINER]
        return cls((values - inside.mean()) / inside.std(correction=0))

    def __call__(self, position: Tensor) -> Tensor:
        """Return values (window, y, x) at positions (window, 2, y, x) in cells along x and y."""
        field = self.values[0, 0]
        taps, weights = [], []
        for axis, size in ((0, field.shape[1]), (1, field.shape[0])):
            along = position[:, axis] * FINER
            first = along.floor()
            offset = along - first
            nodes = torch.arange(STENCIL, dtype=position.dtype) - (STENCIL // 2 - 1)
            taps.append([(first.long() + int(node)) % size for node in nodes])
            weights.append([_lagrange(offset, nodes, index) for index in range(STENCIL)])
        found = torch.zeros_like(position[:, 0])
        for row, by_y in zip(taps[1], weights[1], strict=True):
            line = torch.zeros_like(found)
            for column, by_x in zip(taps[0], weights[0], strict=True):
                line = line + by_x * field[row, column]
            found = found + by_y * line
        return found


def _lagrange(offset: Tensor, nodes: Tensor, index: int) -> Tensor:
    """Evaluate the polynomial that is one at a node and zero at the others."""
    weight = torch.ones_like(offset)
    for other in range(len(nodes)):
        if other != index:
            weight = weight * (offset - nodes[other]) / (nodes[index] - nodes[other])
    return weight


def departures(velocity: Tensor, known: Sequence[float], wanted: Sequence[float]) -> Tensor:
    r"""Return the positions (wanted, 2, y, x), in grid units at time zero, of parcels later at the grid points.

    .. math:: \dot X = w(X, t)

    backward in time, by the fourth-order Runge-Kutta method in steps of at most `LONGEST_DISPLACEMENT` cells. The
    velocity (time, 2, y, x) in cells per second, float64, is linear between its grid points and its ascending times
    `known`, which include the `wanted` ones; outside the grid it is that of the nearest edge.
    """
    here = identity((velocity.shape[-2], velocity.shape[-1]), velocity)
    times = torch.tensor(known, dtype=torch.float64)

    def at(time: float, position: Tensor) -> Tensor:
        index = int(torch.searchsorted(times, time, right=True).clamp(1, max(len(times) - 1, 1))) - 1
        if len(times) == 1:
            field = velocity
        else:
            share = (time - float(times[index])) / float(times[index + 1] - times[index])
            field = torch.lerp(velocity[index : index + 1], velocity[index + 1 : index + 2], share)
        return sample(field.expand(len(position), -1, -1, -1), position)

    # All parcels are traced together, those of later times first.
    order = sorted(range(len(wanted)), key=lambda index: -wanted[index])
    stops = sorted({0.0, *wanted, *(time for time in known if 0 < time < max(wanted))}, reverse=True)
    position = here[:0]
    for begin, end in pairwise(stops):
        position = torch.cat([position, here.expand(wanted.count(begin), -1, -1, -1)])
        fastest = float(velocity.abs().max())
        parts = max(4, math.ceil(fastest * (begin - end) / LONGEST_DISPLACEMENT))
        step = (end - begin) / parts
        for part in range(parts):
            time = begin + part * step
            first = at(time, position)
            second = at(time + step / 2, position + step / 2 * first)
            third = at(time + step / 2, position + step / 2 * second)
            fourth = at(time + step, position + step * third)
            position = position + step / 6 * (first + 2 * second + 2 * third + fourth)
    position = torch.cat([position, here.expand(wanted.count(0.0), -1, -1, -1)])
    return position[torch.tensor(order).argsort()]


def smooth_noise(count: int, shape: tuple[int, int], length: float, generator: torch.Generator) -> Tensor:
    """Draw random fields (count, y, x) of unit deviation, smooth over a length in cells, such as clouds."""
    periods = [2 * n for n in shape]
    waves = torch.meshgrid(*(torch.fft.fftfreq(n, dtype=torch.float64) for n in periods), indexing="ij")
    taper = torch.exp(-0.5 * (2 * math.pi * length) ** 2 * (waves[0] ** 2 + waves[1] ** 2))
    noise = torch.randn(count, *periods, generator=generator, dtype=torch.float64)
    fields: Tensor = torch.fft.ifft2(torch.fft.fft2(noise) * taper).real
    return (fields / fields.std(dim=(1, 2), keepdim=True))[:, : shape[0], : shape[1]]
