"""Results of a run, window by window: what Zarr and NetCDF stores have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.errors import InputError, Status
from xvar.execution.batches import Fields
from xvar.io.writing import checksum, disk_errors, durable, remove, replace
from xvar.runs.journal import State, WriteRecord, append, expectation, header, line, read_journal
from xvar.runs.manifest import Manifest

FEW = 8  # numbers of a window that the journal holds
_READERS = 8  # threads: checksums wait for the disk

Checksums = dict[str, int | None]  # of files by path; None for a file that would hold nothing but fill values


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
    windows are done, and what their files must contain. Results that take the place of others (`instead`) grow in the
    folder `new` until they are complete. A store can be pickled: the workers have copies of it.
    """

    #: Path of the journal in the store.
    JOURNAL: Path

    def __init__(self, path: Path, new: str) -> None:
        self.path = path
        self.new, self._draft = (path.with_name(f".{path.name}.{suffix}") for suffix in (new, "draft"))
        self.instead = False

    @property
    def place(self) -> Path:
        """Path to which results are written now."""
        return self.new if self.instead else self.path

    @property
    def is_finished(self) -> bool:
        """True if the results have their name, and nothing will replace them."""
        return not self.instead

    @property
    def journal(self) -> Path:
        """The journal of the results at `place`."""
        return self.place / self.JOURNAL

    def state(self) -> State | None:
        """Return the content of the journal; None if there is none."""
        try:
            return read_journal(self.journal.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None

    def resumed(self, manifest: Manifest, *, overwrite: bool, accept_versions: bool) -> State | None:
        """Return the journal of the run that is resumed; None if the run begins anew.

        InputError if the store holds another run, or one of other versions, and is not to be replaced.
        """
        # Perhaps a run that replaces another was under way.
        for instead in (True, False) if overwrite and self.new.exists() else (False,):
            self.instead = instead
            found = self.state()
            differences = None if found is None else found.manifest.differences(manifest)
            if found is None or differences:
                continue
            others = found.manifest.other_versions(manifest)
            if accept_versions or not others:
                return found
            if not overwrite:
                raise InputError(
                    code="other-versions",
                    found=f"{str(self.path)!r}, a run of other versions: {'; '.join(others)}",
                    expected="the versions of the run, so that all windows have the bits of one",
                    fix="accept_versions=True, or install those versions",
                )
        if not overwrite and (self.path.exists() or self.place.exists()):
            what = "which is no run of xvar, or one that is damaged or was written by a version before 0.2"
            if differences is not None:
                what = f"a run with other input or options: {'; '.join(differences)}"
            raise InputError(
                code="store-of-another-run",
                found=f"{str(self.path)!r}, {what}",
                expected="a new name, or the store of the same run, which is resumed",
                fix="another name, or overwrite=True: what is there stays until the new is complete",
            )
        self.instead = self.path.exists()
        return None

    def create(self, analysis: xr.Dataset, manifest: Manifest) -> None:
        """Begin a run."""
        with disk_errors(self.place, "nothing was begun"), self.drafted() as draft:
            static = self.write_empty(draft, analysis, manifest)
            with durable(draft / self.JOURNAL) as file:
                file.write(header(manifest, static))
            replace(draft, self.place)

    @contextmanager
    def drafted(self) -> Iterator[Path]:
        """Yield the path of a draft, and remove what is left of it."""
        remove(self._draft)
        try:
            yield self._draft
        finally:
            remove(self._draft)

    @abstractmethod
    def write_empty(self, draft: Path, analysis: xr.Dataset, manifest: Manifest) -> Checksums:
        """Write a store in which no window was run; return the checksums of its static files."""

    @abstractmethod
    def resume(self, analysis: xr.Dataset, manifest: Manifest, state: State, again: Sequence[int] = ()) -> list[Damage]:
        """Remove half-written files of a former run; return its damage.

        Lost windows are removed from `state`; those of `again` are to be run once more.
        """

    @abstractmethod
    def write(self, begin: int, fields: Fields, *, alone: bool = False) -> tuple[Checksums, tuple[int, int]]:
        """Write fields (window, ...) from window `begin`; return checksums and windows (begin, end) of their files.

        InputError if the windows do not fill whole chunks, unless no other writer is at work (`alone`); StoreError if
        the disk refuses.
        """

    @abstractmethod
    def read(self, window: int, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Return fields of one window."""

    @abstractmethod
    def is_noted(self, begin: int, end: int) -> bool:
        """Return True if the run has noted windows as done, and asks for them no more."""

    def commit(self, records: Sequence[WriteRecord], state: State) -> None:
        """Note windows whose fields are on the disk."""
        with disk_errors(self.place):
            append(self.journal, *map(line, records))
        for record in records:
            for path in state.apply(record):
                (self.place / path).unlink(missing_ok=True)

    def expect(self, frames: NDArray[np.uint64], state: State) -> None:
        """Note the digests (window,) of frames before their windows are run, but for those that are known."""
        if ((state.frames == 0) & (frames != 0) & (state.status == Status.NOT_RUN)).any():
            with disk_errors(self.place, "nothing was begun"):
                append(self.journal, expectation(frames))
            state.expect(frames)

    @abstractmethod
    def damages(self, state: State) -> list[Damage]:
        """Read everything, and return what is not as it was written."""

    def check_status(self) -> None:  # noqa: B027  (of Zarr alone)
        """Raise StoreError if the status that readers see is damaged."""

    @abstractmethod
    def finish(self, analysis: xr.Dataset, state: State) -> None:
        """Give the complete results their name."""

    def damaged_files(self, state: State) -> list[Damage]:
        """Compare the files of windows, and static files, with their checksums."""
        wanted = [(path, number, 0, 0) for path, number in state.static.items()]
        for (begin, end), checksums in state.files.items():
            if state.status[begin:end].any():
                wanted += [(path, number, begin, end) for path, number in checksums.items()]
        with ThreadPoolExecutor(_READERS) as pool:
            found = pool.map(lambda path: checksum(self.place / path), [path for path, *_ in wanted])
            return [
                Damage(str(self.place / path), begin, end)
                for (path, number, begin, end), now in zip(wanted, found, strict=True)
                if now != number
            ]

    def forget(self, damages: Iterable[Damage], again: Sequence[int], state: State) -> None:
        """Note windows that are lost, or to be run again, as not run."""
        spans = sorted({(damage.begin, damage.end) for damage in damages if damage.end > damage.begin})
        spans += [(window, window + 1) for window in again]
        if spans:
            append(self.journal, *(line(state.forget(*span)) for span in spans))


def per_window(analysis: xr.Dataset) -> list[str]:
    """Return the variables that are computed."""
    return [str(name) for name, part in analysis.data_vars.items() if part.chunks is not None]


def few_numbers(part: xr.DataArray) -> bool:
    """Return True for a variable with few numbers a window, which the run itself writes."""
    return part.size <= FEW * part.sizes["window"]
