"""Journal of a run: which windows a store holds, with the checksums of their files.

An append-only text file, one JSON object a line, each line preceded by its own checksum. A line is on the disk before
the next is begun; the windows of an unfinished or damaged line are not run.
"""

from __future__ import annotations

import base64
import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.errors import Status
from xvar.execution.batches import Fields
from xvar.io.writing import sync
from xvar.runs.manifest import Manifest


@dataclass(frozen=True)
class WriteRecord:
    """Windows from `begin` whose fields are in the store, with reasons of failures by window.

    `numbers` (window, ...) are the variables with few numbers a window, ``status`` among them; `frames` (window,) the
    digests of the frames that were solved, 0 if not read. `files` are checksums by path, None for a file that would
    hold nothing but fill values; their windows are `chunk` (begin, end), by default those of the record.
    """

    begin: int
    numbers: Fields
    failures: Mapping[int, str] = field(default_factory=dict)
    frames: NDArray[np.uint64] | None = None
    files: Mapping[str, int | None] = field(default_factory=dict)
    chunk: tuple[int, int] | None = None

    @property
    def end(self) -> int:
        """One past the last window."""
        return self.begin + len(self.numbers["status"])


class State:
    """Content of a journal, the newest record of each window.

    `numbers` (window, ...) are NaN or 0 for windows that were not run; `files` are checksums by path, by the windows
    (begin, end) of the files; `static` has the checksums of files without windows.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.numbers: dict[str, NDArray[Any]] = {"status": np.full(manifest.windows, Status.NOT_RUN, np.int8)}
        self.frames = np.zeros(manifest.windows, np.uint64)
        self.failures: dict[int, str] = {}
        self.files: dict[tuple[int, int], Mapping[str, int | None]] = {}
        self.static: dict[str, int | None] = {}
        self._spans = np.zeros((manifest.windows, 2), np.intp)  # of the files of each window

    @property
    def status(self) -> NDArray[np.int8]:
        """Status of each window."""
        return self.numbers["status"]

    def apply(self, record: WriteRecord) -> list[str]:
        """Take over what a record says of its windows; return the files that others replace."""
        replaced: list[str] = []
        if record.files:
            span = record.chunk or (record.begin, record.end)
            for begin, end in np.unique(self._spans[slice(*span)], axis=0).tolist():
                former = self.files.pop((begin, end), {})
                if (begin, end) != span:  # what they hold of other windows goes with them
                    self._spans[begin:end] = 0
                    self.status[begin:end] = Status.NOT_RUN
                replaced += [path for path in former if path not in record.files]
            self.files[span] = record.files
            self._spans[slice(*span)] = span
        rows = slice(record.begin, record.end)
        for name, values in record.numbers.items():
            if name not in self.numbers:
                self.numbers[name] = nothing(self.manifest.windows, values)
            self.numbers[name][rows] = values
        self.frames[rows] = 0 if record.frames is None else record.frames
        for window in range(record.begin, record.end):
            self.failures.pop(window, None)
        self.failures |= record.failures
        return replaced

    def forget(self, begin: int, end: int) -> WriteRecord:
        """Take windows as not run, whose frames stay known; return the record that says so."""
        record = WriteRecord(
            begin, {"status": np.full(end - begin, Status.NOT_RUN, np.int8)}, frames=self.frames[begin:end]
        )
        self.apply(record)
        return record

    def record(self, begin: int, end: int) -> WriteRecord:
        """Return what the journal says of windows, without their files."""
        numbers = {name: values[begin:end] for name, values in self.numbers.items()}
        failures = {window: reason for window, reason in self.failures.items() if begin <= window < end}
        return WriteRecord(begin, numbers, failures, self.frames[begin:end])

    def expect(self, frames: NDArray[np.uint64]) -> None:
        """Take over digests (window,) of the frames of windows of which none are known."""
        self.frames = np.where(self.frames == 0, frames, self.frames)

    def grow(self, manifest: Manifest) -> None:
        """Take over the manifest of a record that has grown: its new windows are not run."""
        more = manifest.windows - self.manifest.windows
        self.manifest = manifest
        if more > 0:
            self.numbers = {k: np.concatenate([v, nothing(more, v)]) for k, v in self.numbers.items()}
            self.frames = np.concatenate([self.frames, np.zeros(more, np.uint64)])
            self._spans = np.concatenate([self._spans, np.zeros((more, 2), np.intp)])


def fill_of(like: NDArray[Any] | xr.DataArray) -> float:
    """Return the value of windows that were not run."""
    return np.nan if like.dtype.kind == "f" else 0


def nothing(windows: int, like: NDArray[Any] | xr.DataArray) -> NDArray[Any]:
    """Return numbers of windows that were not run."""
    return np.full((windows, *like.shape[1:]), fill_of(like), like.dtype)


def append(journal: Path, *lines: bytes) -> None:
    """Add lines to a journal; they are on the disk when this returns."""
    left = b"".join(lines)
    with journal.open("ab", buffering=0) as file:
        size = file.tell()
        try:
            while left:
                left = left[file.write(left) :]
            os.fsync(file.fileno())
        except OSError:  # such as that of a full disk: no half a line stays
            os.truncate(journal, size)
            raise


def repair(journal: Path) -> None:
    """Remove the unfinished last line of a writer that was killed."""
    content = journal.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole != len(content):
        os.truncate(journal, whole)
        sync(journal)


def read_journal(content: bytes) -> State | None:
    """Return the state that the lines of a journal describe; None without a manifest."""
    state: State | None = None
    for text in content.split(b"\n")[:-1]:  # what stands after the last is unfinished
        if text[:9] != b"%08x " % zlib.crc32(text[9:]):
            continue  # its windows are not run
        entry = json.loads(text[9:])
        if "manifest" in entry:
            state = state or State(Manifest(**entry["manifest"]))
            state.grow(Manifest(**entry["manifest"]))
            state.static = entry["static"]
        elif state is not None and "expected" in entry:
            state.expect(_array(entry["expected"]))
        elif state is not None:
            state.apply(_decode(entry))
    return state


def header(manifest: Manifest, static: Mapping[str, int | None]) -> bytes:
    """Return the lines that state a manifest and the checksums of static content, twice: no damaged byte hides them."""
    return 2 * _line({"manifest": asdict(manifest), "static": dict(static)})


def _line(entry: Mapping[str, Any]) -> bytes:
    text = json.dumps(entry, separators=(",", ":")).encode()
    return b"%08x %b\n" % (zlib.crc32(text), text)


def expectation(frames: NDArray[np.uint64]) -> bytes:
    """Return the lines that state the digests of the frames of all windows before one is run, twice like a header."""
    return 2 * _line({"expected": _text(frames)})


def line(record: WriteRecord) -> bytes:
    """Return the line that states a record."""
    arrays = dict(record.numbers) if record.frames is None else {**record.numbers, "": record.frames}
    numbers = {name: _text(values) for name, values in arrays.items()}
    entry = {name: getattr(record, name) for name in ("begin", "failures", "files", "chunk")}
    return _line({**entry, "numbers": numbers})


def _text(values: NDArray[Any]) -> tuple[str, tuple[int, ...], str]:
    return values.dtype.str, values.shape, base64.b64encode(values.tobytes()).decode()


def _array(text: tuple[str, tuple[int, ...], str]) -> NDArray[Any]:
    dtype, shape, content = text
    return np.frombuffer(base64.b64decode(content), dtype).reshape(shape)


def _decode(entry: Mapping[str, Any]) -> WriteRecord:
    numbers = {name: _array(text) for name, text in entry["numbers"].items()}
    failures = {int(window): reason for window, reason in entry["failures"].items()}
    chunk = tuple(entry["chunk"]) if entry["chunk"] else None
    return WriteRecord(entry["begin"], numbers, failures, numbers.pop("", None), entry["files"], chunk)
