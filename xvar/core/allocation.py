"""Freed memory that is kept for the next allocation."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from threading import Lock
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4  # parameters of mallopt(3)
NEVER, LARGEST_BLOCK, DEFAULT_MAX = (1 << 31) - 1, 32 << 20, 65536
KEPT = 512 << 20  # bytes that are free after a computation, at most

_lock, _users = Lock(), 0


@contextmanager
def kept_memory(rest: int | None = None) -> Iterator[None]:
    """Let the GNU C library reuse freed memory during a computation; `rest` bytes are kept then (default: `KEPT`).

    By default it maps every block of more than 32 MiB anew, and returns it to the system when it is freed. Every
    evaluation of J on a large grid then gets its temporary fields zeroed page by page, which takes longer than the
    evaluation itself. Other C libraries are left as they are.
    """
    global _users
    library = _gnu_library()
    if library is None:
        yield
        return
    with _lock:
        _users += 1
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, NEVER)
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                library.mallopt(M_MMAP_MAX, DEFAULT_MAX)
                library.mallopt(M_MMAP_THRESHOLD, LARGEST_BLOCK)
                library.mallopt(M_TRIM_THRESHOLD, KEPT)
                if library.mallinfo2().free > (KEPT if rest is None else rest):
                    library.malloc_trim(0)


class _Information(ctypes.Structure):
    """The numbers of mallinfo2(3), in bytes but for counts."""

    _fields_ = tuple((name, ctypes.c_size_t) for name in (*(f"other_{i}" for i in range(8)), "free", "at_top"))


@lru_cache(maxsize=1)
def _gnu_library() -> Any:
    """Return the C library of the process; None if it is not GNU's, 2.33 or later."""
    library: Any = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
    if not all(hasattr(library, name) for name in ("mallopt", "mallinfo2", "malloc_trim")):
        return None
    library.mallinfo2.restype = _Information
    return library
