"""``-`` for a file: NetCDF from standard input, NetCDF to standard output."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from xvar.errors import Fault, InputError

PIPE = "-"


@contextmanager
def incoming(names: Sequence[str]) -> Iterator[list[str]]:
    """The names of files, where ``-`` stands for what comes in: readers of NetCDF need to seek, so it is kept a while.

    Raises
    ------
    InputError
        Where ``-`` is named twice, or nothing comes in but a person's typing.
    """
    if PIPE not in names:
        yield list(names)
        return
    if list(names).count(PIPE) > 1 or sys.stdin.isatty():
        found = "a terminal as the input" if sys.stdin.isatty() else "- more than once"
        raise InputError(Fault(found, "NetCDF through a pipe, once", "cat radar.nc | xvar info -"))
    with tempfile.TemporaryDirectory(prefix="xvar-") as folder:
        kept = Path(folder) / "stdin.nc"
        with kept.open("wb") as target:
            shutil.copyfileobj(sys.stdin.buffer, target)
        yield [str(kept) if name == PIPE else name for name in names]


@contextmanager
def outgoing(path: Path) -> Iterator[Path]:
    """Where to write; what is written for ``-`` goes out when it is whole.

    Raises
    ------
    InputError
        Where it would go to a terminal.
    """
    if str(path) != PIPE:
        yield path
        return
    if sys.stdout.isatty():
        raise InputError(Fault("a terminal as the output", "a file or a pipe for NetCDF", "-o analysis.nc"))
    with tempfile.TemporaryDirectory(prefix="xvar-") as folder:
        kept = Path(folder) / "stdout.nc"
        yield kept
        with kept.open("rb") as source:
            shutil.copyfileobj(source, sys.stdout.buffer)
        sys.stdout.buffer.flush()
