"""The last window of a record, at its cadence: frames that are missing are frames without values."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.axes import find_axes, find_variable
from xvar.cf.record import as_dataset
from xvar.cf.times import parse_duration, read_times
from xvar.errors import Faults
from xvar.plan.windows import DEFAULT_FRAMES


@dataclass(frozen=True)
class Frames:
    """Frames of a variable, in the order of their times, and the seconds between them."""

    dataset: xr.Dataset
    name: Hashable
    dim: Hashable  # of time
    times: NDArray[Any]
    seconds: NDArray[np.float64]  # since the first
    cadence: float

    @classmethod
    def read(
        cls, data: xr.Dataset | xr.DataArray, variable: Hashable | None, cadence: Any, faults: Faults
    ) -> Frames | None:
        """Read the times of a record; None if a fault was added. Without a `cadence` the most common step is it."""
        dataset, own = as_dataset(data, faults)
        stated = None if cadence is None else parse_duration(cadence, "cadence", faults)
        name = find_variable(dataset, variable if own is None else own, faults)
        axes = None if name is None else find_axes(dataset[name], faults)
        times = None if axes is None else read_times(dataset[name], axes, faults, sort=True)
        if name is None or axes is None or times is None or (cadence is not None and stated is None):
            return None
        if times.order is not None:
            dataset = dataset.isel({axes.time: times.order})
        step = common_step(times.seconds) if stated is None else stated
        return cls(dataset, name, axes.time, times.values, times.seconds, step)

    def window(self, end: int, count: int, *, split: bool = False) -> xr.Dataset:
        """Return `count` frames, the last with the index `end`; frames that are missing before it have no values.

        With `split` none before a missing one has values.
        """
        kept, slots = [end], [self.times[end]]
        second = self.seconds[end]
        for _ in range(count - 1):
            near = int(np.abs(self.seconds - (second - self.cadence)).argmin())
            found = abs(self.seconds[near] - (second - self.cadence)) < 0.5 * self.cadence
            found &= not split or len(kept) == len(slots)
            second = self.seconds[near] if found else second - self.cadence
            slots.append(self.times[near] if found else slots[-1] - _timedelta(self.cadence, self.times))
            kept += [near] if found else []
        frames = self.dataset.isel({self.dim: kept[::-1]})
        if len(kept) == count:
            return frames
        whole = {key: 0 for key, part in frames.variables.items() if part.dtype.kind in "iu" and key != self.name}
        return frames.reindex({self.dim: slots[::-1]}, fill_value={**dict.fromkeys(frames.variables, np.nan), **whole})


def count_frames(window: Any, cadence: float, faults: Faults) -> int:
    """Return the number of frames of a window, a number or a duration; the default is that of `assimilate`."""
    if window is None:
        return DEFAULT_FRAMES
    if isinstance(window, (int, np.integer)) and not isinstance(window, (bool, np.timedelta64)):
        return max(2, int(window))
    span = parse_duration(window, "window", faults)
    return 2 if span is None else max(2, round(span / cadence) + 1)


def common_step(seconds: NDArray[np.float64]) -> float:
    """Return the most common step between ascending times, of several the least."""
    steps, counts = np.unique(np.round(np.diff(seconds)), return_counts=True)
    return float(steps[counts.argmax()])


def _timedelta(seconds: float, like: NDArray[Any]) -> Any:
    """Return a duration for dates of numpy or of cftime."""
    step = np.timedelta64(round(seconds * 1e6), "us")
    return step if like.dtype.kind == "M" else step.astype(object)
