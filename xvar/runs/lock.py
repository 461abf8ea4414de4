"""Lock of a store: one run at a time, held by the kernel and released when its process dies."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from filelock import FileLock, Timeout

from xvar.errors import InputError

_PATIENCE = 1.0  # seconds: `holder_of` holds the lock for an instant


@contextmanager
def locked(store: Path) -> Iterator[None]:
    """Hold the lock of a store, by whatever name or symbolic link; the store need not exist.

    InputError if another run holds the lock, OSError if the lock file cannot be written.
    """
    lock_file, note = _files(store)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(FileLock(lock_file, timeout=_PATIENCE))
        except Timeout:
            raise InputError(
                code="store-locked",
                found=f"{str(store)!r}, into which another run writes: {_read(note)}",
                expected="one run at a time into one store",
                fix=f"wait for its end: xvar status {store}",
            ) from None
        since = datetime.now(timezone.utc).isoformat(timespec="seconds")
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
        with contextlib.suppress(OSError):  # information only
            note.write_text(json.dumps(holder), encoding="utf-8")
        try:
            yield
        finally:
            for path in (note, lock_file):  # filelock refuses a racer that has opened the removed file
                with contextlib.suppress(OSError):
                    path.unlink()


def holder_of(store: Path) -> str | None:
    """Return process, host and start of the run that writes into a store, None if there is none."""
    lock_file, note = _files(store)
    if not lock_file.exists():
        return None
    try:
        with FileLock(lock_file, timeout=0):
            return None
    except (Timeout, PermissionError):
        return _read(note)


def _files(store: Path) -> tuple[Path, Path]:
    """Lock file and note about its holder, beside the store that links lead to."""
    target = store.resolve()
    return target.with_name(f".{target.name}.lock"), target.with_name(f".{target.name}.holder")


def _read(note: Path) -> str:
    try:
        holder = json.loads(note.read_text(encoding="utf-8"))
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "an unknown process"
