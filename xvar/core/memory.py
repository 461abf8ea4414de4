"""Reuse of freed memory by the process."""

from __future__ import annotations

from functools import lru_cache

import torch

KEPT = 31 << 20  # bytes; glibc adapts its threshold to blocks of up to 32 MiB


@lru_cache(maxsize=1)
def keep_freed_memory() -> None:
    """Let the GNU C library keep freed memory, up to twice `KEPT`.

    By default glibc returns freed blocks above 128 KiB, and the top of its heap above twice that, to the system: every
    evaluation of J then requests its temporary fields again, zeroed page by page, at the cost of the evaluation itself.
    The threshold follows the largest block of up to 32 MiB that was freed. The block freed here is never touched, and
    so takes no memory.

    References
    ----------
    mallopt(3), M_MMAP_THRESHOLD: "dynamic adjustment".
    """
    torch.empty(KEPT, dtype=torch.uint8)
