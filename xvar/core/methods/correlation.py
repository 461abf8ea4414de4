"""First guess of a motion by cross-correlation of consecutive images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xvar.core.methods.motion import observed_mean

REACH = 32  # cells: largest displacement in a frame along x and along y
NEAR = 2  # cells about the best peak that belong to it
RIVAL = 0.98  # share of the best peak from which on another one is a rival


@dataclass(frozen=True)
class Displacement:
    """Displacement between consecutive images of each window.

    `cells` (window, 2) along x and y, whole cells in a frame; `peak` (window,) the correlation there, the mean over all
    pairs; `has_rival` (window,) is true if another peak is nearly as high.
    """

    cells: Tensor
    peak: Tensor
    has_rival: Tensor


def displacement(images: Tensor, seconds: Sequence[float], frame: float) -> Displacement:
    r"""Find the displacement at which consecutive images (window, frame, y, x) correlate best; NaN is not observed.

    .. math:: d^* = \arg\max_{|d_i| \le 32} \sum_k \frac{\sum_x a_k(x)\, a_{k+1}(x + d)}{\|a_k\|\, \|a_{k+1}\|}

    with :math:`a_k` the anomaly of image k, zero if nothing was observed, times a Hann window, padded with zeros. Pairs
    of images that are not one frame apart are left out.
    """
    rows, columns = images.shape[-2:]
    reach_y, reach_x = min(REACH, rows // 2), min(REACH, columns // 2)
    size = (rows + reach_y, columns + reach_x)
    taper = _hann(rows, images)[:, None] * _hann(columns, images)
    total = images.new_zeros(len(images), 2 * reach_y + 1, 2 * reach_x + 1)
    pairs, before = 0, None
    for index, time in enumerate(seconds):
        valid, clean, _, mean = observed_mean(images[:, index])
        anomaly = torch.where(valid, clean - mean[:, None, None], 0.0) * taper
        norm = anomaly.square().flatten(1).sum(1).sqrt()[:, None, None]
        after = torch.fft.rfft2(anomaly, s=size), norm
        if before is not None and abs(time - seconds[index - 1] - frame) < 1e-3 * frame:
            product = torch.fft.irfft2(before[0].conj() * after[0], s=size)
            scale = before[1] * norm
            lags = torch.cat([product[:, -reach_y:], product[:, : reach_y + 1]], dim=1)
            lags = torch.cat([lags[..., -reach_x:], lags[..., : reach_x + 1]], dim=2)
            total = total + torch.where(scale > 0, lags / scale, torch.zeros_like(lags))
            pairs += 1
        before = after
    total = total / max(pairs, 1)
    best = total.flatten(1).argmax(1)
    y, x = best // (2 * reach_x + 1) - reach_y, best % (2 * reach_x + 1) - reach_x
    peak = total.flatten(1).gather(1, best[:, None])[:, 0]
    moved = peak > 0
    cells = torch.where(moved[:, None], torch.stack([x, y], dim=1), torch.zeros_like(x)[:, None]).to(images)
    return Displacement(cells, peak, moved & _has_rival(total, x + reach_x, y + reach_y, peak))


def _hann(size: int, like: Tensor) -> Tensor:
    return torch.hann_window(size + 2, periodic=False, dtype=like.dtype, device=like.device)[1:-1]


def _has_rival(total: Tensor, x: Tensor, y: Tensor, peak: Tensor) -> Tensor:
    """Return whether a local maximum outside the neighbourhood of the best is nearly as high."""
    local = torch.nn.functional.max_pool2d(total[:, None], 3, stride=1, padding=1)[:, 0]
    rows = torch.arange(total.shape[1], device=total.device)[None, :, None]
    columns = torch.arange(total.shape[2], device=total.device)[None, None, :]
    away = ((rows - y[:, None, None]).abs() > NEAR) | ((columns - x[:, None, None]).abs() > NEAR)
    rivals = (total == local) & away & (total >= RIVAL * peak[:, None, None])
    return rivals.flatten(1).any(1)
