from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch

from xvar.core import allocation
from xvar.core.allocation import kept_memory

LARGE = 12 << 20  # numbers, in a block larger than glibc's own threshold follows

pytestmark = pytest.mark.skipif(allocation._gnu_library() is None, reason="needs the GNU C library")


def faults() -> int:
    """Return the pages that the system gave to the process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def resident() -> int:
    """Return the bytes of the process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_freed_blocks_of_any_size_are_used_again() -> None:
    with kept_memory():
        torch.zeros(LARGE)
        before = faults()
        for _ in range(3):
            torch.zeros(LARGE)
        pages = 4 * LARGE / resource.getpagesize()
        assert faults() - before < 0.1 * pages


def test_nested_computations_keep_it_until_the_last_ends() -> None:
    with kept_memory():
        with kept_memory():
            torch.zeros(LARGE)
        before = faults()
        torch.zeros(LARGE)
        assert faults() - before < 0.1 * 4 * LARGE / resource.getpagesize()


def test_memory_beyond_the_limit_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocation, "KEPT", 1 << 20)
    with kept_memory():
        torch.zeros(LARGE)
        during = resident()
    assert during - resident() > 0.9 * 4 * LARGE


def test_other_libraries_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocation, "_gnu_library", lambda: None)
    with kept_memory():
        assert allocation._users == 0


def test_nothing_is_kept_if_the_rest_is_none() -> None:
    with kept_memory(rest=0):
        before = resident()
        torch.zeros(LARGE)
    assert resident() - before < 0.2 * 4 * LARGE
