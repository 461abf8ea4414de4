"""Results of a run, window by window: what Zarr and NetCDF stores have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xvar.io.durable import checksum, disk_errors
from xvar.runs.journal import Journal, State, WriteRecord
from xvar.runs.manifest import Manifest

FEW = 8  # numbers of a window that the journal holds
_READERS = 8  # threads: checksums wait for the disk


@dataclass(frozen=True)
class Damage:
    """Something that is not what was written: its path, and the windows that are lost with it, perhaps none."""

    path: str
    begin: int = 0
    end: int = 0

    def __str__(self) -> str:
        lost = f", windows {self.begin} to {self.end - 1}" if self.end > self.begin else ""
        return f"{self.path} is damaged or absent{lost}"


class Store(ABC):
    """Results of a run at `path`, window by window.

    Workers write the fields and bring them to the disk. Then the run adds them to the journal, which alone says which
    windows are done, and what their files must contain.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    @abstractmethod
    def place(self) -> Path:
        """Path to which results are written now."""

    @property
    @abstractmethod
    def is_finished(self) -> bool:
        """True if the results have their name, and nothing will replace them."""

    @property
    @abstractmethod
    def journal(self) -> Journal:
        """The journal of the results at `place`."""

    def state(self) -> State | None:
        """Return the content of the journal; None if there is none."""
        return self.journal.read()

    @abstractmethod
    def create(self, analysis: xr.Dataset, manifest: Manifest) -> None:
        """Begin a run."""

    @abstractmethod
    def resume(self, analysis: xr.Dataset, manifest: Manifest, state: State, again: Sequence[int] = ()) -> list[Damage]:
        """Remove half-written files of a former run; return its damage.

        Lost windows are removed from `state`; those of `again` are to be run once more.
        """

    @abstractmethod
    def writer(self) -> Any:
        """Return a callable (begin, fields, alone) -> files, chunk for the workers."""

    @abstractmethod
    def reader(self) -> Any:
        """Return a callable (window, names) for the workers, which reads variables of one window."""

    def commit(self, records: Sequence[WriteRecord], state: State) -> None:
        """Note windows whose fields are on the disk."""
        if records:
            with disk_errors(self.place):
                self.journal.append(records)
        for record in records:
            for path in state.apply(record):
                (self.place / path).unlink(missing_ok=True)

    @abstractmethod
    def damages(self, state: State) -> list[Damage]:
        """Read everything, and return what is not as it was written."""

    @abstractmethod
    def finish(self, analysis: xr.Dataset, state: State) -> None:
        """Give the complete results their name."""

    def _damaged_files(self, state: State) -> list[Damage]:
        """Compare the files of windows, and static files, with their checksums."""
        wanted = [(path, number, 0, 0) for path, number in state.static.items()]
        for files in state.files.values():
            if state.status[files.begin : files.end].any():
                wanted += [(path, number, files.begin, files.end) for path, number in files.checksums.items()]
        with ThreadPoolExecutor(_READERS) as pool:
            found = pool.map(lambda path: checksum(self.place / path), [path for path, *_ in wanted])
            return [
                Damage(str(self.place / path), begin, end)
                for (path, number, begin, end), now in zip(wanted, found, strict=True)
                if now != number
            ]

    def _forget(self, damages: Iterable[Damage], again: Sequence[int], state: State) -> None:
        """Note windows that are lost, or to be run again, as not run."""
        spans = sorted({(damage.begin, damage.end) for damage in damages if damage.end > damage.begin})
        spans += [(window, window + 1) for window in again]
        if spans:
            self.journal.append([state.forget(*span) for span in spans])


def per_window(analysis: xr.Dataset) -> list[str]:
    """Return the variables that are computed."""
    return [str(name) for name, part in analysis.data_vars.items() if part.chunks is not None]


def few_numbers(part: xr.DataArray) -> bool:
    """Return True for a variable with few numbers a window, which the run itself writes."""
    return part.size <= FEW * part.sizes["window"]


def nothing_run(part: xr.DataArray) -> float:
    """Return the value of windows that were not run."""
    return np.nan if part.dtype.kind == "f" else 0
