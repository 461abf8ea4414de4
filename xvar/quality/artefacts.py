"""Artefacts in images of weather radars and of imaging radiometers: each rule compares all frames of a window.

Of radars: frames that were not made, echoes of the ground, blocked beams; no rain that moves can look like these. Of
radiometers: cold rims of clouds, broken lines of the scanner, stripes of its detectors.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import xarray as xr
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from xvar.cf.axes import Axes, in_memory, is_lazy
from xvar.cf.kinds import Kind
from xvar.errors import InputWarning, warn

Floats = NDArray[Any]
Mask = NDArray[np.bool_]

#: Fewest frames with values in which an echo can be called constant.
FRAMES = 3

#: Smallest share of wet pixels in the frames around a dry frame: no rain ends and begins within a frame.
RAINING = 0.05

#: A constant echo varies by at most this share of its mean; an isolated echo exceeds its neighbours by this share.
STEADY, STANDING = 0.35, 0.5

#: Pixels among the 24 around an isolated echo that it need not exceed.
OTHERS = 4

#: Half width of the box, in pixels, in which an echo of the ground is one of few isolated echoes, and their number:
#: rain of cells of a pixel or two that hardly move has more.
BOX, ISOLATED = 7, 6

#: Fewest pixels at the edge of a blocked sector, their share of all edges of heavy rain, and half the greatest width of
#: a sector in pixels.
EDGE, EDGES, SECTOR = 20, 0.5, 24

#: A pixel and its neighbours in its row and column.
CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=bool)


def dry_frames(window: Floats) -> Mask:
    """Return the frames (frame, 1, 1) without any echo between frames of rain."""
    least = np.nanmin(window)
    with np.errstate(invalid="ignore"):
        share = np.array([np.count_nonzero(frame > least) / max(np.isfinite(frame).sum(), 1) for frame in window])
    seen = np.isfinite(window).any(axis=(1, 2))
    around = np.array([min(share[[i for i in (k - 1, k + 1) if 0 <= i < len(share)]]) for k in range(len(share))])
    # The first and the last frame have one neighbour; the frame behind that has to rain as well.
    around[0], around[-1] = share[1:3].min(), share[-3:-1].min()
    return np.asarray(seen & (share == 0) & (around >= RAINING))[:, None, None]


def ground_echoes(window: Floats) -> Mask:
    """Return the pixels (y, x) of isolated echoes that are constant over the window.

    Each exceeds all but four of the 24 pixels around it by half in every frame. If most echoes are constant, nothing
    moves and none of them is rejected.
    """
    moving = _moving_echoes(window)
    if moving is None:
        return np.zeros(window.shape[1:], dtype=bool)
    window, base, steady, strength = moving
    found = steady & (window.mean(axis=0, dtype="float64") - base > STANDING * strength)
    for frame in window:
        pixels = np.nonzero(found)
        found[pixels] = _stands_out(frame, base, pixels)
    pixels = np.nonzero(found)
    if pixels[0].size == 0:
        return np.asarray(found)
    # Isolated echoes are sought in the boxes of these pixels alone.
    box = (2 * BOX + 1, 2 * BOX + 1)
    near = np.zeros([n + 2 * BOX for n in found.shape], dtype=bool)
    sliding_window_view(near, box, writeable=True)[pixels] = True
    mean = np.where(np.isfinite(window), window, base).mean(axis=0, dtype="float64")
    wet = np.nonzero(near[BOX:-BOX, BOX:-BOX] & (mean > base))
    isolated = found.copy()
    isolated[wet] |= _stands_out(mean, base, wet)
    mirrored = sliding_window_view(np.pad(isolated, BOX, mode="symmetric"), box)
    found[pixels] = np.count_nonzero(mirrored[pixels], axis=(1, 2)) <= ISOLATED
    return np.asarray(found)


def blocked_sectors(window: Floats) -> Mask:
    """Return the pixels (y, x) that are always dry, beside heavy rain that ends at the same line in every frame.

    Rain fades out at its edges, and moves: of 33 windows of nine radars without such a sector 26 had no such line at
    all, and the others 1 % of the length of their edges. Rain that is constant beside the line gives no evidence.
    """
    from scipy import ndimage

    def beside(pixels: Mask, **limits: Any) -> Mask:
        return np.asarray(ndimage.binary_dilation(pixels, CROSS, **limits))

    moving = _moving_echoes(window)
    if moving is None:
        return np.zeros(window.shape[1:], dtype=bool)
    window, base, steady, strength = moving
    heavy = window > base + STANDING * strength
    with np.errstate(invalid="ignore"):
        dry = window <= base
    always_dry = dry.all(axis=0)
    line = always_dry & beside(heavy.all(axis=0) & ~steady)
    if np.count_nonzero(line) < EDGE:
        return np.zeros_like(line)
    edges = float(np.mean([np.count_nonzero(d & beside(h)) for d, h in zip(dry, heavy, strict=True)]))
    if np.count_nonzero(line) < EDGES * edges:
        return np.zeros_like(line)
    return beside(line, iterations=SECTOR, mask=always_dry)


def _moving_echoes(window: Floats) -> tuple[Floats, float, Mask, float] | None:
    """Return the frames with values, the least value, the pixels (y, x) of constant echo, and the mean echo over it.

    The least value is no echo. None without motion: if most wet pixels are constant, or frames are too few.
    """
    base = float(np.nanmin(window))
    seen = np.isfinite(window).any(axis=(1, 2))
    window = window if seen.all() else window[seen]
    with np.errstate(invalid="ignore"):  # NaN in any frame: not known
        echoes = window > base
        mean = window.mean(axis=0, dtype="float64") - base
        steady = (mean > 0) & (window.max(axis=0) - window.min(axis=0) <= STEADY * mean)
    if len(window) < FRAMES or 2 * np.count_nonzero(steady) > np.count_nonzero(echoes.any(axis=0)):
        return None
    strength = float(window[echoes].mean(dtype="float64")) - base if echoes.any() else np.inf
    return window, base, np.asarray(steady), strength


def _stands_out(frame: Floats, base: float, pixels: tuple[NDArray[np.intp], ...]) -> Mask:
    """Return which pixels exceed all but four of the 24 around them by a share of their echo; missing counts as dry."""
    rows, columns = frame.shape
    bordered = np.full((rows + 4, columns + 4), base, dtype=frame.dtype)
    np.copyto(bordered[2:-2, 2:-2], frame, where=np.isfinite(frame))
    values, width = bordered.ravel(), columns + 4
    places = (pixels[0] + 2) * width + pixels[1] + 2
    stands, left = np.zeros(len(places), dtype=bool), np.arange(len(places))
    high = np.zeros(len(places), dtype=np.int8)  # pixels around that are not exceeded
    # The nearest first: inside rain they decide, and only few pixels are compared with the others.
    for ring in (1, 2):
        echo = values[places].astype("float64")
        below = STANDING * (echo - base)
        for up, right in itertools.product(range(-ring, ring + 1), repeat=2):
            if max(abs(up), abs(right)) == ring:
                high += ~(echo - values[places + (up * width + right)] > below)
        kept = high <= OTHERS
        places, left, high = places[kept], left[kept], high[kept]
    stands[left] = True
    return stands


#: Width of the rim of a cloud in pixels, and deviations by which it is colder than the pixel usually is.
RIM, COLD = 3, 6.0

#: Deviations by which a rim is also colder than all clear pixels within this distance: a front is as cold elsewhere.
COLDER, CLEAR = 12.0, 6

#: Deviations of a pixel from its neighbours by which a broken line exceeds, or falls below, both lines beside it, and
#: the fewest pixels of a line.
BROKEN, ALONG = 6.0, 20

#: Lines within which another frame has no such line of the same sign: a filament moves on, it does not vanish.
REACH = 8

#: Least deviation between lines, over that of pixels, of stripes: of four seas without stripes the worst has 0.37, with
#: stripes of 0.05 K it is 0.9.
STRIPED = 0.6
#: Greatest correlation of the differences of neighbouring lines of stripes: smooth fields do not alternate.
ALTERNATING = -0.3
#: Fewest lines of an image, and the lines over which the fix keeps the mean.
LINES, DETECTORS = 16, 16

#: Deviation of a normal distribution over its median absolute deviation.
NORMAL = 1.4826


def cloud_rims(window: Floats) -> Mask:
    """Return the pixels (frame, y, x) beside a cloud that are far colder than usual and than all clear pixels around.

    A cloud is what is missing in some frames only. Usual is the median over the frames, of two the warmer.
    """
    from scipy import ndimage

    window = window.astype("float64")
    missing = ~np.isfinite(window)
    clouds = missing & ~missing.all(axis=0)
    times = (~missing).sum(axis=0)
    often = times >= 3
    if not clouds.any() or not often.any():
        return np.zeros(window.shape, dtype=bool)
    usual = np.full(window.shape[1:], np.nan)
    usual[often] = np.nanmedian(window[:, often], axis=0)
    usual[times == 2] = np.nanmax(window[:, times == 2], axis=0)  # their median is half way to a wrong one
    anomaly = window - usual
    deviation = NORMAL * float(np.nanmedian(np.abs(anomaly[:, often])))
    if deviation == 0:
        return np.zeros(window.shape, dtype=bool)
    rims = ndimage.maximum_filter(clouds, (1, 2 * RIM + 1, 2 * RIM + 1), mode="nearest")
    clear = np.where(rims | missing, np.inf, window).min(axis=0)
    clear = ndimage.minimum_filter(clear, 2 * CLEAR + 1, mode="nearest")
    with np.errstate(invalid="ignore"):
        cold = (anomaly < -COLD * deviation) & (window < clear - COLDER * deviation)
    return np.asarray(rims & cold & np.isfinite(clear))


def broken_lines(window: Floats) -> Mask:
    """Return the rows and columns (frame, y, x) that exceed, or fall below, both lines beside them in one frame only.

    A front or a step lies between the lines beside it; a smooth ridge is no sharper than its flanks; a filament is
    there in other frames, too.
    """
    window, found = window.astype("float64"), np.zeros(window.shape, dtype=bool)
    for values, lines in ((window, found), (window.swapaxes(1, 2), found.swapaxes(1, 2))):
        peaks, broken = np.zeros(values.shape[:2]), np.zeros(values.shape[:2], dtype=bool)
        for frame, peak, candidate in zip(values, peaks, broken, strict=True):
            peak[1:-1], candidate[1:-1] = _peaks(frame)
        for k, i in np.argwhere(broken):
            near = np.delete(peaks, k, axis=0)[:, max(i - REACH, 0) : i + REACH + 1] * np.sign(peaks[k, i])
            lines[k, i] = not (near >= abs(peaks[k, i]) / 2).any()
    return found & np.isfinite(window)


def _peaks(frame: Floats) -> tuple[Floats, Mask]:
    """Return the median by which each inner line exceeds both lines beside it, and which are broken in this frame."""
    above, below = frame[1:-1] - frame[:-2], frame[1:-1] - frame[2:]
    known = np.isfinite(above + below).sum(axis=1) >= ALONG
    peaks = np.zeros(len(known))
    if not known.any():
        return peaks, known
    both = np.sign(above[known]) * np.clip(np.sign(above * below)[known], 0, 1)
    peaks[known] = _medians(both * np.minimum(np.abs(above), np.abs(below))[known])
    _, pixels = line_differences(frame)
    steps = np.full(len(frame) + 1, np.inf)  # between a line and the one before; those outside count for nothing
    between = np.diff(frame, axis=0)
    inside = np.isfinite(between).any(axis=1)
    steps[1:-1][inside] = np.abs(_medians(between[inside]))
    flanks = np.minimum(steps[:-3], steps[3:])
    return peaks, (np.abs(peaks) > BROKEN * pixels) & (np.abs(peaks) > 2 * flanks)


def _medians(lines: Floats) -> Floats:
    """Return the median of the known values of each line, at least one; `numpy.nanmedian` takes five times as long."""
    ordered = np.sort(lines, axis=1)  # NaN at the end
    last = np.count_nonzero(~np.isnan(lines), axis=1) - 1
    middle = np.stack([last // 2, (last + 1) // 2], axis=1)
    return np.asarray(np.take_along_axis(ordered, middle, axis=1).mean(axis=1))


def line_differences(frame: Floats) -> tuple[Floats, float]:
    """Return the median difference of each inner line from the mean of both beside it, and the deviation of a pixel.

    NaN for lines with too few values.
    """
    differences = frame[1:-1] - (frame[:-2] + frame[2:]) / 2
    known = np.isfinite(differences).sum(axis=1) >= ALONG
    result = np.full(len(differences), np.nan)
    if not known.any():
        return result, np.inf
    result[known] = _medians(differences[known])
    return result, NORMAL * float(np.nanmedian(np.abs(differences[known])))


def stripe_notes(array: xr.DataArray, axes: Axes, kind: Kind) -> list[str]:
    """Warn of stripes along rows or columns of temperature images in memory, and return notes for the output.

    Stripes that persist from frame to frame slow the motion across them, others scatter it: on hourly temperature of
    a coast (deviation 0.9 K) stripes of 0.05 K cost a fifth of the accuracy of the currents, of 0.2 K most of it.
    """
    if kind != "sea_temperature" or is_lazy(array):
        return []
    notes = []
    frames = in_memory(array).astype("float64")
    frames = np.where(np.isfinite(frames), frames, np.nan)
    for across, along, values in ((axes.y, axes.x, frames), (axes.x, axes.y, frames.transpose(0, 2, 1))):
        found = [size for size in map(stripes, values) if size > 0]
        if 2 * len(found) <= len(values):
            continue
        label = f"ds[{str(array.name)!r}]"
        text = (
            f"stripes along {str(along)!r} of about {np.median(found):.2g} {array.attrs.get('units', '')}".strip()
            + f" in {len(found)} of {len(values)} frames"
        )
        mean = f".rolling({across}={DETECTORS}, center=True, min_periods=1).mean()"
        notes.append(text)
        warn(
            f"variable {array.name!r}: {text}, which the motion follows as part of the image; fix: "
            f"steps = ({label} - {label}.shift({across}=1)).median({str(along)!r}); "
            f"offsets = (steps - steps{mean}).cumsum({str(across)!r}); {label} = {label} - (offsets - offsets{mean})",
            InputWarning,
        )
    return notes


def stripes(image: NDArray[np.float64]) -> float:
    """Return the standard deviation of the offsets of the lines (y,) of an image; zero without stripes."""
    apart, pixels = line_differences(image)
    known = np.isfinite(apart)
    both = known[:-1] & known[1:]
    if np.count_nonzero(known) < LINES or not both.any():
        return 0.0
    usual = NORMAL * float(np.median(np.abs(apart[known])))
    alternate = (apart[:-1] * apart[1:])[both].mean() < ALTERNATING * np.mean(apart[known] ** 2)
    # A line and the mean of two others: the variances of independent offsets add up to one and a half.
    return usual / np.sqrt(1.5) if alternate and usual > STRIPED * pixels else 0.0
