"""Stripes of scanners whose detectors differ, reported with their effect and the lines that remove them."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.axes import Axes, in_memory, is_lazy
from xvar.cf.kinds import Kind
from xvar.errors import InputWarning, warn
from xvar.quality.radiometer import line_differences

#: Least deviation between lines, over that of pixels, of stripes: of four seas without stripes the worst has 0.37, with
#: stripes of 0.05 K it is 0.9.
STRIPED = 0.6
#: Greatest correlation of the differences of neighbouring lines of stripes: smooth fields do not alternate.
ALTERNATING = -0.3
#: Fewest lines of an image, and the lines over which the fix keeps the mean.
LINES, DETECTORS = 16, 16


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
    usual = 1.4826 * float(np.median(np.abs(apart[known])))
    alternate = (apart[:-1] * apart[1:])[both].mean() < ALTERNATING * np.mean(apart[known] ** 2)
    # A line and the mean of two others: the variances of independent offsets add up to one and a half.
    return usual / np.sqrt(1.5) if alternate and usual > STRIPED * pixels else 0.0
