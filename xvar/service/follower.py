"""One look at the folder of frames: read what is there, make the forecasts that are due, score those before."""

from __future__ import annotations

import glob
import threading
import time as clock
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.axes import find_axes, find_variable
from xvar.cf.times import parse_duration
from xvar.errors import Faults
from xvar.io.writing import remove, write
from xvar.plan.images import MOTION, STEADY, TRANSIENT
from xvar.plan.windows import find_gaps
from xvar.service.inbox import Arrival, Inbox, Stamp
from xvar.service.journal import STATE, STATUS, Journal, Status, text_of
from xvar.service.nowcast import joined, parts_of_nowcast, recent
from xvar.service.scores import Scores
from xvar.service.windows import Frames, common_step, count_frames

Time = np.datetime64
Span = np.timedelta64
AT_ONCE = 16  # files that are read before forecasts are made from them
LATE = 3.0  # times the cadence without a frame, after which the service counts as not healthy
FIRST_FILES = 64  # of a folder that is followed from now on, the last by name
SOLUTION = (*MOTION, *STEADY, *TRANSIENT, "growth")  # where the next minimisation begins


@dataclass
class Follower:
    """A service that makes a nowcast for each frame, see `xvar.service.follow.follow`."""

    inbox: Inbox
    output: str  # pattern of the outputs, with {time:...}
    lead: Any
    thresholds: Sequence[float]
    options: dict[str, Any]  # of `assimilate`
    how: dict[str, Any]  # other options of `parts_of_nowcast`
    journal: Journal
    scores: Scores
    variable: str | None = None
    stated_cadence: float | None = None  # seconds
    every_frame: bool = False
    keep: Span | None = None
    warm: bool = True
    products: Sequence[Callable[[Path], object]] = ()
    say: Callable[[str], object] = print
    status: Status = field(default_factory=Status)
    frames: dict[Time, xr.Dataset] = field(default_factory=dict)
    files: dict[Path, tuple[Stamp, list[Time]]] = field(default_factory=dict)  # of these frames, not all of them done
    again: set[str] = field(default_factory=set)  # files that an earlier process has finished
    seen: dict[Time, float] = field(default_factory=dict)  # when the file of a frame was complete
    made: dict[Time, NDArray[Any]] = field(default_factory=dict)  # lead times of the forecasts that are on disk

    def path(self, time: Time) -> Path:
        """Return the output of a frame."""
        return Path(self.output.format(time=time.astype("datetime64[us]").item())).expanduser()

    @property
    def cadence(self) -> float:
        """Seconds between frames: stated, or the most common step of those that are known; 0 if it is unknown."""
        return self.stated_cadence or _step(sorted(self.frames))

    def span(self, cadence: float) -> Span:
        """Return the span of the frames of a window."""
        return span_of((count_frames(self.options.get("window"), cadence or 1.0, Faults()) - 0.5) * cadence)

    def memory(self, cadence: float) -> Span:
        """Return how long before the newest frame others are needed: in windows, and as the truth of forecasts."""
        return span_of((parse_duration(self.lead, "lead", Faults()) or 0.0) + cadence) + self.span(cadence)

    def begin(self) -> None:
        """Find what an earlier process has done; leave out old files if frames are followed from now on."""
        prefix, folder = Path(self.output).name.partition("{")[0], self.journal.path.parent
        own = [f"{glob.escape(name)}*.draft" for name in (STATE, STATUS, self.scores.path.name, prefix)]
        for draft in [path for name in (f".{glob.escape(prefix)}*.part", *own) for path in folder.glob(name)]:
            remove(draft)  # of a process that was killed while it wrote
        files, known = self.inbox.files(), self.journal.files
        if not self.every_frame and not known:
            for path in [*files][:-FIRST_FILES]:
                known[str(path)] = [*files[path], "old", []]
        done = {np.datetime64(text) for text in self.journal.done}
        times = sorted(done.union(np.datetime64(text) for entry in known.values() for text in entry[3]))
        if not times:
            return
        # The last files are read again: their frames are in the windows and the truth of what comes.
        first = times[-1] - self.memory(self.stated_cadence or _step(times))
        self.again = {name for name, entry in known.items() if any(np.datetime64(text) >= first for text in entry[3])}
        for name in self.again:
            del known[name]
        for time in done:
            if time >= first:
                self._is_made(time)

    def step(self, stop: threading.Event) -> bool:
        """Read files, make the forecasts that are due, score those before; return False if there was nothing to do."""
        taken, before = self._read_files(), len(self.journal.done)
        for time in sorted(time for time in self.frames if str(time) not in self.journal.done):
            if stop.is_set():
                break
            self._handle(time)
        if self.frames:
            self._score(max(self.frames))
        if not taken and len(self.journal.done) == before:
            return False
        self._tidy()
        return True

    # --- frames ---

    def _read_files(self) -> int:
        """Take files that are complete; return how many were settled one way or the other."""
        settled, now = 0, clock.time()
        for path, stamp in self.inbox.files().items():
            entry = self.journal.files.get(str(path))
            if path in self.files or (entry is not None and tuple(entry[:2]) == stamp):
                continue
            found = self.inbox.take(path) if self.inbox.settled(path, stamp, now) else None
            if found is None:
                continue
            settled += 1
            reason = found if isinstance(found, str) else self._add(found)
            if reason:
                self.journal.counts["broken"] += 1
                self.journal.files[str(path)] = [*stamp, "broken", []]
                self._complain(f"{path}: {reason}")
            if settled == AT_ONCE:
                break
        return settled

    def _add(self, arrival: Arrival) -> str:
        """Add the frames of a file; return the reason if they do not fit."""
        name, known = str(arrival.path), next(iter(self.frames.values()), None)
        if known is not None and not all(_same_grid(known, frame) for frame in arrival.frames.values()):
            return "another grid than the frames before"
        oldest = max(self.frames) - self.memory(self.cadence) if self.frames else None
        new = []
        for time, frame in arrival.frames.items():
            if time in self.frames or (oldest is not None and time < oldest):
                continue
            self.frames[time] = frame
            self.seen[time] = arrival.since
            new.append(time)
        if new:
            self.files[arrival.path] = arrival.stamp, new
        else:
            self.journal.counts["duplicates"] += 1
            self.journal.files[name] = [*arrival.stamp, "duplicate", []]
        return ""

    # --- forecasts ---

    def _handle(self, time: Time) -> None:
        """Make the forecast of a frame if it is due and its window has two frames."""
        cadence = self.cadence
        within = sorted(one for one in self.frames if one <= time and time - one < self.span(cadence))
        if self.options.get("gaps") == "split":
            within = _unbroken(within, cadence)
        if self._is_made(time):  # a process was killed before it noted that
            self._publish(time)
        elif not self.every_frame and time < max(self.frames):
            self.journal.done.add(str(time))
        elif len(within) > 1:
            self._score(within[-2])  # the forecast has the scores of all frames before its own
            if self._make(time, within, cadence):
                self._publish(time)
            self._score(time)
        elif any(one > time for one in self.made):
            self.journal.done.add(str(time))

    def _is_made(self, time: Time) -> bool:
        """Return whether the forecast of a frame is on disk, and note its lead times."""
        if time not in self.made and self.path(time).exists():
            with opened_output(self.path(time)) as output:
                self.made[time] = output["lead_time"].values.astype("timedelta64[us]")
        return time in self.made

    def _make(self, time: Time, within: Sequence[Time], cadence: float) -> bool:
        """Write the nowcast of a frame; return False if that fails, which is noted and not tried again."""
        began, path, status = clock.perf_counter(), self.path(time), self.status
        try:
            result, guess = self._nowcast(time, within, cadence)
        except Exception as error:  # noqa: BLE001 -- the service continues with the next frame
            self.journal.counts["failed"] += 1
            self.journal.done.add(str(time))
            self._complain(f"{text_of(time)}: no forecast: {' '.join(str(error).split())}")
            return False
        status.solving_seconds = round(clock.perf_counter() - began, 3)
        path.parent.mkdir(parents=True, exist_ok=True)
        write(result, path)
        self.made[time] = result["lead_time"].values.astype("timedelta64[us]")
        status.latency_seconds = round(clock.time() - self.seen[time], 3)
        status.frames_of_window, status.output = f"{len(within)} of {result.sizes['step']}", str(path)
        self.say(
            f"{path}: {result.sizes['lead_time']} lead times, {status.frames_of_window} frames, first guess "
            f"{'none' if guess is None else text_of(guess)}, {status.solving_seconds:.2f} s, on disk "
            f"{status.latency_seconds:.2f} s after the frame{self._skill()}"
        )
        return True

    def _nowcast(self, time: Time, within: Sequence[Time], cadence: float) -> tuple[xr.Dataset, Time | None]:
        """Return the nowcast of a frame, and the forecast at whose solution its minimisation began."""
        faults, options = Faults(), dict(self.options)
        how: dict[str, Any] = {"compat": "override", "join": "exact", "combine_attrs": "override"}
        dim = dimension_of_time(self.frames[time], self.variable)
        record = xr.concat([self.frames[one] for one in within], dim, data_vars="minimal", coords="minimal", **how)
        frames = faults.require(Frames.read(record, self.variable, f"{cadence}s", faults))
        count = count_frames(options.get("window"), cadence, faults)
        guess = max((one for one in self.made if time - self.span(cadence) < one < time), default=None)
        guess = guess if self.warm else None
        if guess is not None:
            with opened_output(self.path(guess)) as before:
                options["first_guess"] = before[[name for name in SOLUTION if name in before]].load()
        parts = parts_of_nowcast(frames, count, self.lead, options, self.thresholds, **self.how)
        pooled = self.scores.pooled(parts[0])
        result = joined([*parts, *([] if pooled is None else [recent(pooled)])], frames)
        result.attrs["first_guess"] = "none" if guess is None else str(guess)
        return result, guess

    def _publish(self, time: Time) -> None:
        """Make the files beside a forecast, run the command, and note on disk that the frame is done."""
        for product in self.products:
            try:
                product(self.path(time))
            except Exception as error:  # noqa: BLE001 -- the forecast itself is there
                self.journal.counts["failed"] += 1
                self._complain(f"{self.path(time)}: {' '.join(str(error).split())}")
        self.journal.done.add(str(time))
        self.journal.counts["forecasts"] += 1
        self.journal.counts["late"] += any(one > time for one in self.made)
        self.status.last_forecast = max(self.status.last_forecast, text_of(time))
        self.journal.write()

    # --- scores, state ---

    def _score(self, until: Time) -> None:
        """Score the pairs of forecasts and frames up to a time that were not scored yet."""
        count = 0
        for time in sorted(one for one in self.frames if one <= until):
            due = [
                one
                for one, leads in self.made.items()
                if time - one in leads and not self.scores.has(one, time) and self.path(one).exists()
            ]
            with ExitStack() as stack:
                outputs = {one: stack.enter_context(opened_output(self.path(one))) for one in due}
                count += self.scores.add(outputs, time, self.frames[time])
        if count:
            self.scores.write(max(self.frames))

    def _skill(self) -> str:
        """Return the error at the longest lead time that was scored, beside that of persistence, for the log."""
        known = self.scores.by_lead()
        if not known:
            return ""
        lead, found = list(known.items())[-1]
        error, last = found["rmse"], found["rmse_persistence"]
        return f"; {found['forecasts']} forecasts at {lead} min: RMSE {error:.3g}, persistence {last:.3g}"

    def _tidy(self) -> None:
        """Forget what nothing needs any more, remove outputs beyond `keep`, and write state and status."""
        journal, counts = self.journal, self.journal.counts
        for path, (stamp, times) in list(self.files.items()):
            if all(str(time) in journal.done for time in times):
                journal.files[str(path)] = [*stamp, "read", [str(time) for time in times]]
                counts["frames"] += 0 if str(path) in self.again else len(times)
                del self.files[path]
        if self.frames:
            self._forget(max(self.frames))
        present = {str(path) for path in self.inbox.files()}
        journal.files = {name: entry for name, entry in journal.files.items() if name in present}
        journal.write()
        self.write_status()

    def _forget(self, newest: Time) -> None:
        """Forget frames, and remove outputs, that are too old."""
        cadence, done = self.cadence, self.journal.done
        memory = self.memory(cadence)
        for time in [one for one in self.frames if one < newest - memory and str(one) in done]:
            del self.frames[time], self.seen[time]
        self.made = {time: leads for time, leads in self.made.items() if time >= newest - memory}
        kept = newest - max(memory, self.keep or memory)
        for text in [text for text in done if np.datetime64(text) < kept]:
            output = self.path(np.datetime64(text))
            for path in output.parent.glob(f"{glob.escape(output.stem)}.*") if self.keep is not None else ():
                remove(path)
            done.discard(text)
        late = np.datetime64(clock.time_ns() // 1000, "us") + span_of(LATE * cadence)
        self.status.late_after = text_of(late) if cadence else ""
        self.status.last_frame = text_of(newest)

    def write_status(self, state: str = "running") -> None:
        """Bring the status to the disk."""
        self.status.state, self.status.counts = state, dict(self.journal.counts)
        self.status.scores = self.scores.by_lead()
        self.status.write(self.journal.path.with_name(STATUS))

    def _complain(self, text: str) -> None:
        """Report something that went wrong, in the log and the status."""
        self.status.last_error = text
        self.say(text)


def opened_output(path: Path) -> xr.Dataset:
    """Open an output of the service."""
    return xr.open_zarr(path) if path.suffix == ".zarr" else xr.open_dataset(path, engine="netcdf4")


def dimension_of_time(frame: xr.Dataset, variable: str | None) -> Any:
    """Return the dimension of time of a frame that was read."""
    faults = Faults()
    axes = find_axes(frame[find_variable(frame, variable, faults)], faults)
    return faults.require(axes).time


def _same_grid(one: xr.Dataset, other: xr.Dataset) -> bool:
    """Return whether the coordinates along the dimensions of two frames, but for time, are the same."""
    plane = [dim for dim in one.sizes if dim in one.indexes and one.indexes[dim].dtype.kind in "iuf"]
    sizes = {dim: size for dim, size in one.sizes.items() if dim in other.sizes}
    return all(other.sizes[dim] == size for dim, size in sizes.items() if size > 1) and all(
        dim in other.indexes and one.indexes[dim].equals(other.indexes[dim]) for dim in plane
    )


def _unbroken(times: list[Time], cadence: float) -> list[Time]:
    """Return the last of ascending times, without a gap between them."""
    gaps = find_gaps(np.array([time - times[0] for time in times]) / np.timedelta64(1, "s"), cadence)
    return times[int(gaps[-1]) + 1 :] if gaps.size else times


def _step(times: Sequence[Time]) -> float:
    """Return the most common step of ascending times in seconds, 0 of a single one."""
    if len(times) < 2:
        return 0.0
    return common_step(np.array([time - times[0] for time in times]) / np.timedelta64(1, "s"))


def span_of(seconds: float) -> Span:
    """Return a duration of so many seconds."""
    return np.timedelta64(round(1e6 * seconds), "us")
