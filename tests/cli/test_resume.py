"""A long record through the shell: stopped by Ctrl-C, killed with all its workers, gone on with by the same command."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import xvar
from tests.runs.records import same
from xvar.io.reading import open_files
from xvar.runs import status

pytest.importorskip("distributed")
psutil = pytest.importorskip("psutil")
pytestmark = [pytest.mark.long, pytest.mark.skipif(sys.platform == "win32", reason="signals")]

WINDOWS = 90  # more than are solved between two looks at the store
COMMAND = ["assimilate", "radar_*.nc", "-o", "analysis.zarr", "--workers", "2", "--batch", "1"]


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder with the radar record, again and again, in three files."""
    once = xvar.datasets.sample().isel(y=slice(20, 84), x=slice(40, 104))
    frames = 3 * WINDOWS + 1
    record = once.isel(time=np.arange(frames) % once.sizes["time"])
    record["time"] = np.datetime64("2020-01-01", "ns") + np.arange(frames) * np.timedelta64(300, "s")
    for index, part in enumerate(np.array_split(np.arange(frames), 3)):
        record.isel(time=part).to_netcdf(tmp_path / f"radar_{index}.nc")
    return tmp_path


def begin(folder: pathlib.Path) -> subprocess.Popen[str]:
    """The command, in a group of its own as a shell starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", "xvar", *COMMAND], cwd=folder, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def done(folder: pathlib.Path) -> int:
    store = folder / "analysis.zarr"
    return status(store).done if store.exists() else 0


def until(process: subprocess.Popen[str], folder: pathlib.Path, windows: int) -> list[Any]:
    """Wait until so many windows are done; gives the processes at work."""
    while done(folder) < windows:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    return [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]


def test_the_same_command_goes_on_after_any_end(folder: pathlib.Path) -> None:
    with begin(folder) as process:  # Ctrl-C reaches all processes of the terminal
        at_work = until(process, folder, 3)
        os.killpg(process.pid, signal.SIGINT)
        _, words = process.communicate(timeout=120)
    assert process.returncode == 130, words
    assert psutil.wait_procs(at_work, timeout=60)[1] == []
    report = status(folder / "analysis.zarr")
    assert words.splitlines()[-1].startswith(
        f"xvar: interrupted; {folder}/analysis.zarr: {report.done} of {WINDOWS} windows done"
    )
    assert "Traceback" not in words
    assert 3 <= report.done < WINDOWS
    assert (report.running, report.failed) == (None, {})

    with begin(folder) as process:
        at_work = until(process, folder, report.done + 5)
        os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert psutil.wait_procs(at_work, timeout=60)[1] == []
    before = status(folder / "analysis.zarr")
    assert before.running is None
    assert report.done + 5 <= before.done < WINDOWS

    with begin(folder) as process:
        printed, words = process.communicate()
    assert process.returncode == 0
    assert printed.startswith(
        f"analysis.zarr: {WINDOWS} of {WINDOWS} windows done, 0 failed, 0 not run, {before.done} of"
    )
    # A kill between two files leaves one of them behind the journal: it is repaired, and reported.
    assert all(line.endswith(("written again", "run again")) for line in words.splitlines()), words
    with open_files([str(folder / "radar_*.nc")]) as record:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        expected = record.load().var4d.assimilate()
        torch.set_num_threads(threads)
    with xr.open_zarr(folder / "analysis.zarr") as found:
        assert same(found.load(), expected) == []
    assert status(folder / "analysis.zarr").outcomes == {"converged": WINDOWS}
    assert not list(folder.glob(".*"))
