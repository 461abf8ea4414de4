"""First guess of a motion: the displacement at which consecutive images correlate best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from xvar.core.finite import filled
from xvar.core.methods.motion import observed_mean

REACH = 32  # cells: largest displacement in a frame along x and along y
NEAR = 2  # cells about a displacement that count as the same
RIVAL = 0.98  # share of the best peak from which on another one is a rival


@dataclass(frozen=True)
class Displacement:
    """Displacement between consecutive images of each window."""

    cells: Tensor  # (window, 2) along x and y, whole cells in a frame
    peak: Tensor  # (window,), the correlation there, the mean over all pairs
    has_rival: Tensor  # (window,), true if another peak is nearly as high


def displacement(images: Tensor, seconds: Sequence[float], frame: float) -> Displacement:
    r"""Find the displacement at which consecutive images (window, frame, y, x) correlate best; NaN is not observed.

    .. math:: d^* = \arg\max_{|d_i| \le 32} \sum_k \frac{\sum_x a_k(x)\, a_{k+1}(x + d)}{\|a_k\|\, \|a_{k+1}\|}

    with :math:`a_k` the anomaly of image k, zero if nothing was observed, times a Hann window, padded with zeros. Pairs
    of images that are not one frame apart are left out.
    """
    total = correlation(images, seconds, frame)
    cells, peak = highest(total)
    local = max_pool2d(total[:, None], 3, stride=1, padding=1)[:, 0]
    rivals = (total == local) & ~_near(total, cells) & (total >= RIVAL * peak[:, None, None])
    return Displacement(cells, peak, (peak > 0) & rivals.flatten(1).any(1))


def consecutive(seconds: Sequence[float], index: int, frame: float) -> bool:
    """Return whether an image comes one frame after the one before."""
    return index > 0 and abs(seconds[index] - seconds[index - 1] - frame) < 1e-3 * frame


def fast_length(least: int) -> int:
    """Return the smallest length from `least` on without prime factors above 5, which Fourier transforms need."""
    length = least
    while True:
        rest = length
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return length
        length += 1


def correlation(images: Tensor, seconds: Sequence[float], frame: float, reach: int = REACH) -> Tensor:
    """Return the mean correlation of consecutive images at all displacements (window, y, x), rest in the middle."""
    rows, columns = images.shape[-2:]
    reach_y, reach_x = min(reach, rows // 2), min(reach, columns // 2)
    size = fast_length(rows + reach_y), fast_length(columns + reach_x)
    like: dict[str, Any] = {"dtype": images.dtype, "device": images.device}
    along_y, along_x = (torch.hann_window(n + 2, periodic=False, **like)[1:-1] for n in (rows, columns))
    taper = along_y[:, None] * along_x
    pairs, product, before = 0, None, None
    for index in range(len(seconds)):
        *_, mean = observed_mean(images[:, index])
        anomaly = filled(images[:, index] - mean[:, None, None]).mul_(taper)
        norm = anomaly.square().flatten(1).sum(1).sqrt()[:, None, None]
        waves = torch.fft.rfft2(anomaly / torch.where(norm > 0, norm, 1.0), s=size)
        if before is not None and consecutive(seconds, index, frame):
            one = before.conj() * waves
            product = one if product is None else product.add_(one)
            pairs += 1
        before = waves
    if product is None:
        return images.new_zeros(len(images), 2 * reach_y + 1, 2 * reach_x + 1)
    lags = torch.fft.irfft2(product, s=size)
    lags = torch.cat([lags[:, -reach_y:], lags[:, : reach_y + 1]], dim=1)
    lags = torch.cat([lags[..., -reach_x:], lags[..., : reach_x + 1]], dim=2)
    return lags / pairs


def highest(total: Tensor) -> tuple[Tensor, Tensor]:
    """Return the displacement of the highest correlation (window, 2), rest if none is positive, and its value."""
    peak, best = total.flatten(1).max(1)
    rows, columns = total.shape[1:]
    cells = torch.stack([best % columns - columns // 2, best // columns - rows // 2], dim=1)
    return torch.where(peak[:, None] > 0, cells, torch.zeros_like(cells)).to(total), peak


def _near(total: Tensor, cells: Tensor, distance: int = NEAR) -> Tensor:
    """Return which displacements are within a distance of one in cells (window, 2), or of the nearest in reach."""
    near = torch.ones_like(total, dtype=torch.bool)
    for axis, component in ((1, 1), (2, 0)):
        reach = total.shape[axis] // 2
        shape = [1, -1, 1] if axis == 1 else [1, 1, -1]
        lags = torch.arange(-reach, reach + 1, device=total.device).view(shape)
        near &= (lags - cells[:, component, None, None].clamp(-reach, reach)).abs() <= distance
    return near
