"""Memory of the process: pages that were freed a moment ago are not asked for anew."""

from __future__ import annotations

from functools import lru_cache

import torch

KEPT = 31 << 20  # bytes; the most for which glibc changes its mind is 32 MiB


@lru_cache(maxsize=1)
def keep_freed_memory() -> None:
    """Let the C library keep what is freed, up to twice `KEPT`, where it is that of GNU.

    It gives blocks above a threshold, at first of 128 KiB, back to the system at once, and the top of its heap above
    twice that: every evaluation of J then takes its temporary fields from the system again, zeroed and page by page,
    which costs as much as the evaluation itself. The threshold follows the largest block of up to 32 MiB that was
    freed, as it would once the user has freed an array of that size. This block is never touched, and so never exists.

    References
    ----------
    mallopt(3), M_MMAP_THRESHOLD: "dynamic adjustment".
    """
    torch.empty(KEPT, dtype=torch.uint8)
