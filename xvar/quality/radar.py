"""Artefacts of weather radars: frames that were not made, echoes of the ground, blocked beams.

No rain that moves can look like these: each rule compares all frames of a window.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Floats = NDArray[Any]
Mask = NDArray[np.bool_]

#: Fewest frames with values in which an echo can be called constant.
FRAMES = 3

#: Smallest share of wet pixels in the frames around a dry frame: no rain ends and begins within a frame.
RAINING = 0.05

#: A constant echo varies by at most this share of its mean; an isolated echo exceeds its neighbours by this share.
STEADY, STANDING = 0.35, 0.5

#: Half width of the box, in pixels, in which an echo of the ground is one of few isolated echoes, and their number:
#: rain of cells of a pixel or two that hardly move has more.
BOX, ISOLATED = 7, 6

#: Fewest pixels at the edge of a blocked sector, their share of all edges of heavy rain, and half the greatest width of
#: a sector in pixels.
EDGE, EDGES, SECTOR = 20, 0.5, 24


def dry_frames(window: Floats) -> NDArray[np.bool_]:
    """Return the frames (frame,) without any echo between frames of rain."""
    least = np.nanmin(window)
    with np.errstate(invalid="ignore"):
        share = np.array([np.count_nonzero(frame > least) / max(np.isfinite(frame).sum(), 1) for frame in window])
    seen = np.isfinite(window).any(axis=(1, 2))
    around = np.array([min(share[[i for i in (k - 1, k + 1) if 0 <= i < len(share)]]) for k in range(len(share))])
    # The first and the last frame have one neighbour; the frame behind that has to rain as well.
    around[0], around[-1] = share[1:3].min(), share[-3:-1].min()
    return np.asarray(seen & (share == 0) & (around >= RAINING))


def ground_echoes(window: Floats) -> Mask:
    """Return the pixels (y, x) of isolated echoes that are constant over the window.

    Each exceeds all but four of the 24 pixels around it by half in every frame. If most echoes are constant, nothing
    moves and none of them is rejected.
    """
    window, base = _with_values(window)
    none = np.zeros(window.shape[1:], dtype=bool)
    if len(window) < FRAMES or not _moves(window, base):
        return none
    found = _steady(window, base) & (window.mean(axis=0) - base > STANDING * (_mean_echo(window, base) - base))
    pixels = np.nonzero(found)
    if pixels[0].size == 0:
        return none
    found[pixels] = np.all([_stands_out(frame, base, pixels) for frame in window], axis=0)
    mean = np.where(np.isfinite(window), window, base).mean(axis=0)
    isolated = found.copy()
    wet = np.nonzero(mean > base)
    isolated[wet] |= _stands_out(mean, base, wet)
    return np.asarray(found & (_box_sums(isolated, BOX) <= ISOLATED))


def blocked_sectors(window: Floats) -> Mask:
    """Return the pixels (y, x) that are always dry, beside heavy rain that ends at the same line in every frame.

    Rain fades out at its edges, and moves: of 33 windows of nine radars without such a sector 26 had no such line at
    all, and the others 1 % of the length of their edges. Rain that is constant beside the line gives no evidence.
    """
    window, base = _with_values(window)
    found = np.zeros(window.shape[1:], dtype=bool)
    if len(window) < FRAMES or not _moves(window, base):
        return found
    heavy = window > base + STANDING * (_mean_echo(window, base) - base)
    with np.errstate(invalid="ignore"):
        dry = window <= base
    always_dry = dry.all(axis=0)
    line = always_dry & _beside(heavy.all(axis=0) & ~_steady(window, base))
    edges = float(np.mean([np.count_nonzero(d & _beside(h)) for d, h in zip(dry, heavy, strict=True)]))
    if np.count_nonzero(line) < max(EDGE, EDGES * edges):
        return found
    for _ in range(SECTOR):
        line = line | always_dry & _beside(line)
    return np.asarray(line)


def _with_values(window: Floats) -> tuple[Floats, float]:
    """Return the frames that have any value, and the least value of all: no echo."""
    return window[np.isfinite(window).any(axis=(1, 2))], float(np.nanmin(window))


def _moves(window: Floats, base: float) -> bool:
    """Return whether fewer than half of the wet pixels are constant."""
    wet = np.count_nonzero((np.where(np.isfinite(window), window, base) > base).any(axis=0))
    return bool(2 * np.count_nonzero(_steady(window, base)) <= wet)


def _steady(window: Floats, base: float) -> Mask:
    """Return the pixels (y, x) whose echo is constant over the window."""
    with np.errstate(invalid="ignore"):  # NaN in any frame: not known
        mean = window.mean(axis=0) - base
        return np.asarray((mean > 0) & (window.max(axis=0) - window.min(axis=0) <= STEADY * mean))


def _mean_echo(window: Floats, base: float) -> float:
    """Return the mean of all echoes; infinite without any."""
    return float(window[window > base].mean()) if (window > base).any() else np.inf


def _stands_out(frame: Floats, base: float, pixels: tuple[NDArray[np.intp], ...]) -> Mask:
    """Return which pixels exceed all but four of the 24 around them by a share of their echo; missing counts as dry."""
    padded = np.pad(np.where(np.isfinite(frame), frame, base), 2, constant_values=base)
    around = np.stack([padded[pixels[0] + i, pixels[1] + j] for i in range(5) for j in range(5) if (i, j) != (2, 2)])
    return np.asarray(frame[pixels] - np.partition(around, -5, axis=0)[-5] > STANDING * (frame[pixels] - base))


def _box_sums(mask: Mask, half: int) -> NDArray[np.intp]:
    """Return the number of pixels of a mask in a box around each pixel; the mask is mirrored at its edges."""
    sums = np.pad(mask, half, mode="symmetric").astype(np.intp)
    for axis in (0, 1):
        sums = sliding_window_view(sums, 2 * half + 1, axis=axis).sum(axis=-1)
    return sums


def _beside(mask: Mask) -> Mask:
    """Return the pixels with a neighbour of the mask in their row or column."""
    result = np.zeros(mask.shape, dtype=bool)
    result[1:] |= mask[:-1]
    result[:-1] |= mask[1:]
    result[:, 1:] |= mask[:, :-1]
    result[:, :-1] |= mask[:, 1:]
    return result
