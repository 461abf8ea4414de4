"""Inputs and outputs of commands: files are checked before they are opened, ``-`` is NetCDF through a pipe."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import xarray as xr

from xvar.errors import Fault, InputError
from xvar.io.writing import check_target

PIPE = "-"


@contextmanager
def opened(names: Sequence[str], group: str | None = None, *, trusted: bool) -> Iterator[xr.Dataset]:
    """Open files, patterns, URLs or ``-`` as one record; standard input is kept in a file: NetCDF readers seek.

    InputError if a file cannot be used, ``-`` is named twice, or standard input is a terminal.
    """
    from xvar.io.reading import open_files

    with tempfile.TemporaryDirectory(prefix="xvar-") as folder:
        if PIPE in names:
            if list(names).count(PIPE) > 1 or sys.stdin.isatty():
                found = "a terminal as the input" if sys.stdin.isatty() else "- more than once"
                fix = "cat radar.nc | xvar info -"
                raise InputError(Fault(found, "NetCDF through a pipe, once", fix, code="pipe-input"))
            kept = Path(folder) / "stdin.nc"
            with kept.open("wb") as target:
                shutil.copyfileobj(sys.stdin.buffer, target)
            names = [str(kept) if name == PIPE else name for name in names]
        with open_files(names, group, trusted=trusted) as record:
            yield record


@contextmanager
def opened_record(
    inputs: Sequence[str], group: str | None, *, trusted: bool
) -> Iterator[tuple[xr.Dataset, str | None]]:
    """Open files as one record; the last word is its variable if it is no file."""
    last = inputs[-1]
    is_file = last == PIPE or Path(last).suffix or Path(last).exists() or any(mark in last for mark in "*?[/\\")
    files, variable = (inputs, None) if len(inputs) == 1 or is_file else (inputs[:-1], last)
    with opened(files, group, trusted=trusted) as record:
        yield record, variable


@contextmanager
def outgoing(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield the path to write to; output for ``-`` is sent when complete.

    InputError if the path cannot be written, or standard output is a terminal.
    """
    if str(path) != PIPE:
        check_target(path, overwrite=overwrite)
        yield path
        return
    if sys.stdout.isatty():
        found = "a terminal as the output"
        raise InputError(Fault(found, "a file or a pipe for NetCDF", "-o analysis.nc", code="pipe-output"))
    with tempfile.TemporaryDirectory(prefix="xvar-") as folder:
        kept = Path(folder) / "stdout.nc"
        yield kept
        with kept.open("rb") as source:
            shutil.copyfileobj(source, sys.stdout.buffer)
        sys.stdout.buffer.flush()
