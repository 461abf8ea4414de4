"""The folder that frames arrive in: complete files, read once; partial, broken and duplicate ones set aside."""

from __future__ import annotations

import glob
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.axes import find_axes, find_variable
from xvar.errors import Fault, Faults, InputError
from xvar.io.opening import open as open_record

Outcome = Literal["read", "duplicate", "broken", "old"]
Stamp = tuple[int, int]  # size in bytes, time of the last change in nanoseconds
Time = np.datetime64
RECENT = 60.0  # seconds: a file that is older when it is first seen did not arrive when it says


@dataclass
class Look:
    """A file as it was found: its stamp, when that was first seen, and the reason why it was not read so far."""

    stamp: Stamp
    since: float  # its last change, in seconds of the clock of the system
    first: float  # when the stamp was first seen
    tried: float = 0.0
    reason: str = ""


@dataclass(frozen=True)
class Arrival:
    """A file that was read, and its frames by time; `since` is when it was seen complete."""

    path: Path
    stamp: Stamp
    since: float
    frames: dict[Time, xr.Dataset]


@dataclass
class Inbox:
    """Files of a folder or a pattern.

    A file is read if its size and time have not changed for `settle` seconds. One that cannot be read, or has no value,
    is tried again when it changes and each second, and counts as broken after `patience` seconds without a change.
    """

    pattern: str
    read: Callable[[Path], dict[Time, xr.Dataset]]
    settle: float
    patience: float
    looks: dict[Path, Look] = field(default_factory=dict)

    def __post_init__(self) -> None:
        place = Path(self.pattern).expanduser()
        self.pattern = str(place / "*") if place.is_dir() else str(place)

    @property
    def folder(self) -> Path:
        """The folder that is watched: the part of the pattern without wildcards."""
        place = Path(self.pattern)
        return next(parent for parent in place.parents if not glob.has_magic(str(parent)))

    def files(self) -> dict[Path, Stamp]:
        """Return the files of the pattern, in the order of their names, with their stamps."""
        found = {}
        for name in sorted(glob.glob(self.pattern, recursive=True)):  # noqa: PTH207 -- Path.glob needs a relative one
            path = Path(name)
            try:
                state = path.stat()
            except OSError:  # it was moved meanwhile
                continue
            if path.is_file() or path.suffix == ".zarr":
                found[path] = (state.st_size, state.st_mtime_ns)
        return found

    def settled(self, path: Path, stamp: Stamp, now: float) -> bool:
        """Return whether a file has not changed for long enough, and is due to be tried."""
        look = self.looks.get(path)
        if look is None or look.stamp != stamp:
            # A file is as old as it says, but clocks of other machines may be ahead.
            self.looks[path] = look = Look(stamp, min(now, stamp[1] / 1e9), now)
        return now - look.since >= self.settle and now - look.tried >= min(1.0, self.patience)

    def take(self, path: Path) -> Arrival | str | None:
        """Return what a file holds; the reason if it is broken; None if it may still be incomplete."""
        look, now = self.looks[path], time.time()
        look.tried = now
        try:
            frames = self.read(path)
        except Exception as error:  # noqa: BLE001 -- readers of incomplete files raise what they like
            look.reason = " ".join(str(error).split())[:300]
            if now - look.first < self.patience:
                return None
            del self.looks[path]
            return look.reason
        del self.looks[path]
        return Arrival(path, look.stamp, look.since if look.first - look.since < RECENT else look.first, frames)

    @property
    def pause(self) -> float | None:
        """Seconds until a file may be complete, or is tried again; None if there is none."""
        if not self.looks:
            return None
        return min(max(self.settle, 0.02) if not look.tried else 0.5 for look in self.looks.values())


def read_frames(path: Path, variable: str | None, **reading: Any) -> dict[Time, xr.Dataset]:
    """Return the frames of a file by time, in memory; InputError if it has none, or one without a value.

    `reading` are options of `xvar.open`.
    """
    with open_record(path, variable, **reading) as opened:
        faults = Faults()
        name = find_variable(opened, variable, faults)
        faults.raise_if_any()
        axes = faults.require(find_axes(opened[name], faults))
        times: NDArray[Any] = opened[name][axes.time].values
        if times.dtype.kind != "M":
            found = f"{path}: times of type {times.dtype}"
            raise InputError(Fault(found, "dates of the standard calendar", "decode the times", code="times-of-frames"))
        record = opened.load()
    dims = [dim for dim in record[name].dims if dim != axes.time]
    if not bool(record[name].notnull().any(dims).all()):
        found = f"{path}: a frame without any value"
        raise InputError(Fault(found, "values", "wait until it is complete", str(name), code="frame-without-values"))
    return {key: record.isel({axes.time: [index]}) for index, key in enumerate(times.astype("datetime64[us]"))}
