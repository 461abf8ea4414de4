"""Fixtures of all tests."""

from __future__ import annotations

import os
import pathlib
import re
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from xvar.errors import Fault

# A job in the background of a shell ignores Ctrl-C, and so would the processes that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Machines that run tests are shared: a slow example is no fault, and a red run must be red again.
settings.register_profile("xvar", deadline=None, derandomize=True)
# Beside CI, for an hour or so, other examples each time: pytest --hypothesis-profile thorough tests/test_properties.py
settings.register_profile("thorough", deadline=None, max_examples=4800)
settings.load_profile("xvar")

# Real data lie beside the project, not in it.
DATA = pathlib.Path(os.environ.get("XVAR_TEST_DATA", pathlib.Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
    """Folder of the real data; the test is skipped where it is absent."""
    if not DATA.is_dir():
        pytest.skip(f"no real data in {DATA}: set XVAR_TEST_DATA")
    return DATA


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """One thread of torch: with more, sums lose their bits, and processes of tests hinder one another."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def _every_problem_in_words() -> Iterator[None]:
    """Whatever a test provokes says in words what was found, what was expected and what mends it."""
    made = Fault.__init__

    def checked(self: Fault, *texts: str, **more: object) -> None:
        made(self, *texts, **more)
        for text in (self.found, self.expected, self.fix):
            assert isinstance(text, str), self
            assert re.match(r"(?![A-Z]{2,}[a-z])\S", text), self
            assert not text.isupper(), self

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Fault, "__init__", checked)
        yield
