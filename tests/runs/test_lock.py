from __future__ import annotations

import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from xvar import InputError
from xvar.runs.lock import holder_of, lock_path, locked


def test_a_second_run_is_refused_with_process_and_host(tmp_path: pathlib.Path) -> None:
    store = tmp_path / "a.zarr"
    with locked(store):
        with pytest.raises(InputError, match=f"process {os.getpid()} on {socket.gethostname()}"), locked(store):
            pass
        assert holder_of(store) == f"process {os.getpid()} on {socket.gethostname()}"
    assert holder_of(store) is None
    with locked(store):
        pass
    assert list(tmp_path.iterdir()) == []


def dead() -> int:
    """Number of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path: pathlib.Path) -> None:
    store = tmp_path / "a.nc"
    lock_path(store).write_text(json.dumps({"pid": dead(), "host": socket.gethostname(), "born": "1"}))
    with locked(store):
        assert holder_of(store) is not None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not pathlib.Path("/proc/self/stat").exists(), reason="the system does not say when a process began")
def test_a_number_that_another_process_has_now_is_no_owner(tmp_path: pathlib.Path) -> None:
    store = tmp_path / "a.nc"
    lock_path(store).write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "born": "1"}))
    with locked(store):
        pass


def test_the_lock_of_another_host_is_respected(tmp_path: pathlib.Path) -> None:
    store = tmp_path / "a.nc"
    lock_path(store).write_text(json.dumps({"pid": dead(), "host": "elsewhere", "born": "1"}))
    with pytest.raises(InputError, match=r"on elsewhere.*remove"), locked(store):
        pass


def test_of_many_that_find_a_dead_lock_one_gets_it(tmp_path: pathlib.Path) -> None:
    store = tmp_path / "a.zarr"
    lock_path(store).write_text(json.dumps({"pid": dead(), "host": socket.gethostname(), "born": "1"}))
    barrier = threading.Barrier(8)
    holding, most = [], []

    def take(_: int) -> bool:
        barrier.wait()
        try:
            with locked(store):
                holding.append(1)
                most.append(len(holding))
                holding.pop()
        except InputError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert any(pool.map(take, range(8)))
    assert max(most) == 1


def test_a_folder_that_cannot_be_written_is_said(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"), locked(tmp_path / "file" / "a.zarr"):
        pass
