from __future__ import annotations

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.codes import codes
from xvar import InputError
from xvar.runs import lock
from xvar.runs.lock import holder_of, locked

HOLD = """
import pathlib, sys, time
from xvar.runs.lock import locked
with locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_PATIENCE", 0.1)


def refused(store: pathlib.Path) -> bool:
    try:
        with locked(store):
            return False
    except InputError as error:
        return codes(error) == ["store-locked"]


def test_a_second_run_is_refused_with_process_and_host(tmp_path: pathlib.Path) -> None:
    store = tmp_path / "a.zarr"
    with locked(store):
        with pytest.raises(InputError) as info, locked(store):
            pass
        holder = holder_of(store)
        assert holder is not None
        assert re.fullmatch(rf"process {os.getpid()} on {re.escape(socket.gethostname())} since 20\S+", holder)
        assert holder in info.value.faults[0].found
    assert holder_of(store) is None
    assert not refused(store)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links")
def test_the_lock_follows_links(tmp_path: pathlib.Path) -> None:
    (tmp_path / "data").mkdir()
    store, link, folder = tmp_path / "data" / "a.nc", tmp_path / "b.nc", tmp_path / "c"
    link.symlink_to(store)
    folder.symlink_to(tmp_path / "data")
    for one, other in ((store, link), (link, store), (store, folder / "a.nc"), (folder / "a.nc", link)):
        with locked(one):
            assert refused(other)
            assert holder_of(other) is not None


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_the_lock_of_a_dead_process_is_taken_over(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Containers may share a host name and have their own process numbers: neither counts.
    store = tmp_path / "a.zarr"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(store)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        (tmp_path / ".a.zarr.holder").write_text(
            json.dumps({"pid": 999999999, "host": socket.gethostname(), "since": "1"})
        )
        assert refused(store)
        process.send_signal(signal.SIGKILL)
    assert holder_of(store) is None
    assert not refused(store)
    assert list(tmp_path.iterdir()) == []


def test_of_many_racers_one_holds_the_lock(tmp_path: pathlib.Path) -> None:
    store = tmp_path / "a.zarr"
    barrier, holding, most = threading.Barrier(8), [], []

    def take(_: int) -> int:
        barrier.wait()
        taken = 0
        for _ in range(20):
            try:
                with locked(store):
                    holding.append(1)
                    most.append(len(holding))
                    time.sleep(1e-3)
                    holding.pop()
                    taken += 1
            except InputError:
                continue
        return taken

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(take, range(8))) > 1
    assert max(most) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"), locked(tmp_path / "file" / "a.zarr"):
        pass
