"""One thread, as in every task of a cluster: with more, the bits of reductions vary."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _always_one_thread(one_thread: None) -> None:
    """Use one thread in all tests of core."""
