"""Runs in threads of this process: what is written, resumed, refused."""

from __future__ import annotations

import errno
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from importlib import metadata
from typing import Any

import dask.array
import numpy as np
import pytest
import torch
import xarray as xr
import zarr

import xvar
from tests.faults.codes import codes
from tests.runs.records import OPTIONS, Failing, marked, same, shower
from xvar.errors import DivergedError, Fault
from xvar.execution.batches import WindowError
from xvar.execution.workers import choose_processes
from xvar.io.writing import StoreError
from xvar.runs import Interrupted, Report, manifest, status
from xvar.runs.zarr_store import ZarrStore

KINDS = ["a.zarr", "a.nc"]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def whole() -> xr.Dataset:
    return shower().var4d.assimilate(**OPTIONS)


def load(path: pathlib.Path) -> xr.Dataset:
    with xr.open_dataset(path) if path.suffix == ".nc" else xr.open_zarr(path) as found:
        return found.load()


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("lazy", [False, True])
def test_a_run_gives_the_analysis(name: str, lazy: bool, whole: xr.Dataset, tmp_path: pathlib.Path) -> None:
    told: list[Report] = []
    record = shower().chunk(time=3) if lazy else shower()
    report = xvar.run(record, tmp_path / name, **OPTIONS, batch=2, progress=told.append)
    found = load(tmp_path / name)
    assert same(found, whole) == []
    assert set(found.variables) == set(whole.variables)
    for variable in whole.variables:
        assert found[variable].dims == whole[variable].dims
        assert set(whole[variable].attrs) == set(found[variable].attrs)
    assert (report.windows, report.done, report.left, report.failed, report.before) == (4, 4, 0, {}, 0)
    assert told[0].done == 0
    assert sorted(each.done for each in told) == [each.done for each in told]
    assert told[-1].done == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]  # no lock, no parts, no drafts


FORMATS = (2, 3) if int(zarr.__version__.partition(".")[0]) >= 3 else (2,)


def test_a_format_that_the_package_zarr_does_not_write_is_refused(tmp_path: pathlib.Path) -> None:
    wrong = 4 if 3 in FORMATS else 3
    with pytest.raises(xvar.InputError) as info:
        xvar.run(shower(), tmp_path / "a.zarr", **OPTIONS, zarr_format=wrong)
    assert codes(info.value) == ["unknown-zarr-format"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("zarr_format", FORMATS)
def test_both_formats_of_zarr(zarr_format: int, whole: xr.Dataset, tmp_path: pathlib.Path) -> None:
    xvar.run(shower(), tmp_path / "a.zarr", **OPTIONS, zarr_format=zarr_format, batch=1)
    assert (tmp_path / "a.zarr" / {2: ".zgroup", 3: "zarr.json"}[zarr_format]).exists()
    assert same(load(tmp_path / "a.zarr"), whole) == []


@pytest.mark.parametrize("name", KINDS)
def test_a_finished_run_has_nothing_to_do(name: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    xvar.run(shower(), tmp_path / name, **OPTIONS)
    monkeypatch.setattr("xvar.execution.dispatch.solve_batch", None)  # nothing is solved any more
    report = xvar.run(shower(), tmp_path / name, **OPTIONS)
    assert report.before == report.windows == report.done == 4
    assert str(status(tmp_path / name)) == f"{tmp_path / name}: 4 of 4 windows done, 0 failed, 0 not run"


def test_a_bar_says_what_is_done_and_how_far_j_fell(
    whole: xr.Dataset, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # for rich, a terminal
    monkeypatch.setenv("COLUMNS", "160")
    report = xvar.run(shower(), tmp_path / "a.nc", **OPTIONS, batch=1, progress=True)
    fall = float((1 - whole["cost"].isel(stage=1) / whole["cost"].isel(stage=0)).median())
    assert report.fall == pytest.approx(fall)
    assert 0 < fall < 1
    told = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().err)
    assert f"4/4 0 failed, 0 left, J fell by {fall:.0%}" in told
    monkeypatch.delenv("FORCE_COLOR")
    assert xvar.run(shower(), tmp_path / "b.nc", **OPTIONS, progress=True).done == 4
    assert capsys.readouterr().err == ""  # into a file or a pipe


class Stopping:
    """A progress that ends the run by an error after some windows."""

    def __init__(self, after: int, error: BaseException) -> None:
        self.after, self.error = after, error

    def __call__(self, report: Report) -> None:
        if report.done >= self.after:
            raise self.error


@pytest.mark.parametrize("zarr_format", FORMATS)
def test_windows_that_were_not_run_say_so(zarr_format: int, whole: xr.Dataset, tmp_path: pathlib.Path) -> None:
    # Faults 74, 75 and 81.
    path = tmp_path / "a.zarr"
    with (
        pytest.raises(Interrupted, match=r"2 of 4 windows done.*windows \d-\d$") as info,
        dask.config.set(scheduler="sync"),
    ):
        xvar.run(shower(), path, **OPTIONS, batch=2, zarr_format=zarr_format, progress=Stopping(2, KeyboardInterrupt()))
    missing = info.value.report.not_run  # one batch or the other: the order is dask's
    assert missing in ([0, 1], [2, 3])
    done = [window for window in range(4) if window not in missing]
    found = load(path)
    assert list(np.flatnonzero(found["status"] == 0)) == missing
    for name in found.data_vars:
        if "window" in found[name].dims and found[name].dtype.kind == "f":
            assert np.isnan(found[name][missing]).all(), name
    assert found["status"].dtype == np.int8
    assert same(found.isel(window=done), whole.isel(window=done)) == []
    report = status(path)
    assert (report.done, report.left, report.not_run) == (2, 2, missing)
    series = found.var4d.series()
    assert series.sizes["time"] == 7  # what was not run has no part in it
    report = xvar.run(shower(), path, **OPTIONS)  # with the batches of the store, not the default ones
    assert (report.before, report.done) == (2, 4)
    assert same(load(path), whole) == []


def test_an_unfinished_netcdf_is_no_file(whole: xr.Dataset, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.nc"
    with pytest.raises(Interrupted), dask.config.set(scheduler="sync"):
        xvar.run(shower(), path, **OPTIONS, batch=1, progress=Stopping(2, KeyboardInterrupt()))
    assert not path.exists()
    assert status(path).left == 2
    (path.with_name(".a.nc.parts") / "windows-0000002-0000003.npz.77.draft").touch()  # of a writer that was killed
    assert xvar.run(shower(), path, **OPTIONS).before == 2
    assert same(load(path), whole) == []
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.nc"]


def test_a_part_that_went_missing_is_not_merged(whole: xr.Dataset, tmp_path: pathlib.Path) -> None:
    # Fault 75.
    path = tmp_path / "a.nc"
    with pytest.raises(Interrupted), dask.config.set(scheduler="sync"):
        xvar.run(shower(), path, **OPTIONS, batch=1, progress=Stopping(3, KeyboardInterrupt()))
    lost = min(path.with_name(".a.nc.parts").glob("windows-*.npz"))
    before = status(path).not_run
    lost.unlink()
    found = status(path, verify=True)
    assert found.not_run == sorted([*before, int(lost.name.split("-")[1])])
    assert len(found.damaged) == 1
    report = xvar.run(shower(), path, **OPTIONS)
    assert (report.before, report.damaged) == (2, found.damaged)
    assert same(load(path), whole) == []


# --- what is refused (faults 76, 77, 80) ---


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"window": 3}, "window"),
        ({"dtype": "float64"}, "dtype"),
        ({"minimizer": OPTIONS["minimizer"].__class__(max_evaluations=5, ftol=0.99)}, "minimizer"),
    ],
)
def test_another_configuration_is_refused(name: str, change: dict[str, Any], word: str, tmp_path: pathlib.Path) -> None:
    xvar.run(shower(), tmp_path / name, **OPTIONS)
    with pytest.raises(xvar.InputError) as info:
        xvar.run(shower(), tmp_path / name, **{**OPTIONS, **change})
    assert codes(info.value) == ["store-of-another-run"]
    assert f"{word}: " in info.value.faults[0].found
    assert status(tmp_path / name).done == 4


def test_another_input_is_refused(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.zarr"
    xvar.run(shower(), path, **OPTIONS)
    other = shower()
    other["rain"][0, 3, 3] += 1
    later = shower().assign_coords(time=shower()["time"] + np.timedelta64(1, "h"))
    for record in (other, later):
        with pytest.raises(xvar.InputError) as info:
            xvar.run(record, path, **OPTIONS)
        assert codes(info.value) == ["other-frames"]
        assert str(info.value.faults[0].index).startswith("window 0 (2020-01-01T0")
    xvar.run(shower().chunk(time=2), path, **OPTIONS)  # chunks are not what it says
    xvar.run(shower(), path, **OPTIONS, errors="continue", batch=3)  # nor is how it is run


@pytest.mark.parametrize("name", KINDS)
def test_frames_of_windows_that_were_not_run_are_compared(name: str, whole: xr.Dataset, tmp_path: pathlib.Path) -> None:
    path = tmp_path / name
    for frames, done in ((13, 1), (19, 2)):  # the record grows
        with pytest.raises(Interrupted), dask.config.set(scheduler="sync"):
            xvar.run(shower(frames), path, **OPTIONS, batch=1, progress=Stopping(done, KeyboardInterrupt()))
        for frame in {12, frames - 1}:  # of the last window alone
            other = shower(frames)
            other["rain"][frame, 3, 3] += 1
            with pytest.raises(xvar.InputError) as info:
                xvar.run(other, path, **OPTIONS)
            assert codes(info.value) == ["other-frames"]
            assert str(info.value.faults[0].index).startswith(f"window {(frame - 1) // 3} ")
    assert xvar.run(shower(19).chunk(time=5), path, **OPTIONS).done == 6
    assert same(load(path).isel(window=slice(4)), whole) == []


def test_the_last_window_may_grow_until_it_is_run(tmp_path: pathlib.Path) -> None:
    path, options = tmp_path / "a.zarr", {**OPTIONS, "partial": "keep", "batch": 1}
    with pytest.raises(Interrupted), dask.config.set(scheduler="sync"):
        xvar.run(shower(12), path, **options, progress=Stopping(1, KeyboardInterrupt()))
    assert xvar.run(shower(14), path, **options).done == 5
    assert same(load(path), shower(14).var4d.assimilate(**OPTIONS, partial="keep")) == []
    other = shower(14)
    other["rain"][13, 3, 3] += 1
    for record in (other, shower(15)):
        with pytest.raises(xvar.InputError) as info:
            xvar.run(record, path, **options)
        assert codes(info.value) == ["other-frames"]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("package", ["xvar", "torch"])
def test_another_version_is_refused(
    name: str, package: str, whole: xr.Dataset, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    monkeypatch.setattr(manifest, "version", lambda of: "0.0.1" if of == package else metadata.version(of))
    with pytest.raises(Interrupted), dask.config.set(scheduler="sync"):
        xvar.run(shower(), path, **OPTIONS, batch=1, progress=Stopping(2, KeyboardInterrupt()))
    monkeypatch.undo()
    with pytest.raises(xvar.InputError) as info:
        xvar.run(shower(), path, **OPTIONS)
    assert codes(info.value) == ["other-versions"]
    assert f"{package}: 0.0.1 in the store" in info.value.faults[0].found
    assert xvar.run(shower(), path, **OPTIONS, accept_versions=True).before == 2
    assert xvar.run(shower(), path, **OPTIONS).before == 4  # accepted once and for all
    assert same(load(path), whole) == []


@pytest.mark.parametrize("name", KINDS)
def test_what_is_not_ours_is_refused_and_stays(name: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / name
    if name.endswith("nc"):
        path.write_text("a diary")
    else:
        path.mkdir()
        (path / "diary").write_text("a diary")
    with pytest.raises(xvar.InputError) as info:
        xvar.run(shower(), path, **OPTIONS)
    assert codes(info.value) == ["store-of-another-run"]
    assert "a diary" in (path if path.is_file() else path / "diary").read_text()


@pytest.mark.parametrize("name", KINDS)
def test_the_old_stays_until_the_new_is_complete(name: str, whole: xr.Dataset, tmp_path: pathlib.Path) -> None:
    path = tmp_path / name
    old = {**OPTIONS, "window": 3}
    xvar.run(shower(), path, **old)
    before = load(path)
    with pytest.raises(Interrupted), dask.config.set(scheduler="sync"):
        xvar.run(shower(), path, **OPTIONS, batch=1, overwrite=True, progress=Stopping(2, KeyboardInterrupt()))
    assert same(load(path), before) == []
    assert xvar.run(shower(), path, **OPTIONS, overwrite=True).before == 2  # the replacement is resumed, too
    assert same(load(path), whole) == []
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    assert xvar.run(shower(), path, **OPTIONS, overwrite=True).before == 4  # it is of this run: nothing to replace


def test_a_region_that_cuts_a_chunk_is_refused(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.zarr"
    xvar.run(shower(), path, **OPTIONS, batch=3)
    values = load(path)["u"].values
    write = ZarrStore(path).write
    for begin, end in ((1, 3), (0, 2)):
        with pytest.raises(xvar.InputError) as info:
            write(begin, {"u": np.zeros_like(values[begin:end])})
        assert codes(info.value) == ["cut-chunk"]
    assert write(3, {"u": values[3:4]})[1] == (3, 4)  # the last chunk is short
    np.testing.assert_array_equal(load(path)["u"], values)


@pytest.mark.long
def test_threads_or_processes_are_chosen_by_time(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_processes(13, 0.6, 2)[0] is None  # 5.6 s in threads, 13.9 s with the start of processes
    assert choose_processes(1000, 0.6, 2)[0] == 2
    assert choose_processes(1000, 0.6, 1)[0] is None
    reference = shower().var4d.assimilate(**OPTIONS)
    report = xvar.run(shower(), tmp_path / "threads.zarr", **OPTIONS, batch=1, workers="auto")
    assert report.way.startswith("in threads")
    monkeypatch.setattr("xvar.execution.workers.START_SECONDS", 0.0)
    monkeypatch.setattr("xvar.execution.workers.CPU_COUNT", 2)
    report = xvar.run(shower(), tmp_path / "processes.zarr", **OPTIONS, batch=1, workers="auto")
    assert report.way.startswith("by 2 processes")
    for name in ("threads", "processes"):
        assert same(load(tmp_path / f"{name}.zarr"), reference) == []


@pytest.mark.long
def test_two_runs_in_one_place(tmp_path: pathlib.Path) -> None:
    # Fault 79.
    def second(report: Report) -> None:
        assert str(status(report.path).running).startswith(f"process {os.getpid()} on {os.uname().nodename} since ")
        with pytest.raises(xvar.InputError) as info:
            xvar.run(shower(), report.path, **OPTIONS)
        assert codes(info.value) == ["store-locked"]

    xvar.run(shower(), tmp_path / "a.zarr", **OPTIONS, progress=second)
    assert status(tmp_path / "a.zarr").running is None


def test_options_and_places_that_cannot_be_used(tmp_path: pathlib.Path) -> None:
    for name, options, code in (
        ("a.zarr", {"windw": 4}, "unknown-option"),
        ("s3://bucket/a.zarr", {}, "store-is-a-url"),
        ("nowhere/a.zarr", {}, "missing-folder"),
        ("a.zarr", {"workers": "many"}, "option-value"),
        ("a.zarr", {"workers": 2, "scheduler": "tcp://localhost:1"}, "workers-and-scheduler"),
    ):
        with pytest.raises(xvar.InputError) as info:
            xvar.run(shower(), name if "://" in name else tmp_path / name, **options)
        assert codes(info.value) == [code]
    with pytest.raises(xvar.InputError) as info:
        status(tmp_path / "b.zarr")
    assert codes(info.value) == ["file-not-found"]
    assert list(tmp_path.iterdir()) == []


def test_values_in_memory_are_looked_at_before_anything_is_run(tmp_path: pathlib.Path) -> None:
    record = shower()
    record["rain"][3, 2, 2] = -1
    with pytest.raises(xvar.InputError, match="negative"):
        xvar.run(record, tmp_path / "a.zarr", **OPTIONS)
    assert list(tmp_path.iterdir()) == []


# --- what fails (faults 68, 69, 72, 78) ---


@pytest.mark.parametrize("name", KINDS)
def test_a_window_that_fails_is_marked_with_its_reason(name: str, whole: xr.Dataset, tmp_path: pathlib.Path) -> None:
    options = {"window": 4, "minimizer": Failing(max_evaluations=12, ftol=0.99)}
    record = marked(shower(), 6)
    report = xvar.run(record, tmp_path / name, **options, errors="continue", batch=2)
    assert report.failed == {1: "ArithmeticError: no motion in this frame"}
    assert (report.done, report.left) == (3, 0)
    assert status(tmp_path / name).failed == report.failed
    found = load(tmp_path / name)
    assert np.isnan(found["u"][1]).all()
    assert same(found.isel(window=[0, 3]), whole.isel(window=[0, 3])) == []


def test_a_window_without_a_finite_cost_counts_as_failed(tmp_path: pathlib.Path) -> None:
    error = DivergedError(Fault("no finite J", "one at the background", "another background", code="cost-not-finite"))
    options = {"window": 4, "minimizer": Failing(max_evaluations=12, ftol=0.99, error=error), "batch": 2}
    report = xvar.run(marked(shower(), 6), tmp_path / "a.zarr", **options, errors="continue")
    for told in (report, status(tmp_path / "a.zarr")):
        assert list(told.failed) == [1]
        assert "no finite J" in told.failed[1]
        assert (told.done, told.left) == (3, 0)
        assert told.outcomes == {"converged": 3, "diverged": 1}


def test_a_window_that_raises_ends_the_run_and_keeps_the_others(tmp_path: pathlib.Path) -> None:
    options = {"window": 4, "minimizer": Failing(max_evaluations=12, ftol=0.99)}
    record = marked(shower(), 3)
    with pytest.raises(WindowError, match=r"window 0 \(2020-01-01T00:00:00 to"), dask.config.set(scheduler="sync"):
        xvar.run(record, tmp_path / "a.zarr", **options, batch=1)
    assert 0 in status(tmp_path / "a.zarr").not_run


def broken(record: xr.Dataset, frame: int, error: Exception) -> xr.Dataset:
    """The record with a frame that cannot be read."""
    values = record["rain"].values

    def read(block_info: Any = None) -> np.ndarray:
        place = block_info[None]["array-location"][0][0]
        if place == frame and not np.array_equal(block_info[None]["chunk-shape"], (0, 0, 0)):
            raise error
        return values[place : place + 1]

    result = record.copy()
    chunks = ((1,) * len(values), *((size,) for size in values.shape[1:]))
    result["rain"] = record["rain"].copy(data=dask.array.map_blocks(read, chunks=chunks, dtype="f4"))
    return result


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "radar_007.nc"), FileNotFoundError),
        (OSError(-101, "NetCDF: HDF error", "radar_007.nc"), xvar.InputError),
    ],
)
def test_frames_that_cannot_be_read(
    error: Exception, expected: type[Exception], whole: xr.Dataset, tmp_path: pathlib.Path
) -> None:
    record = broken(shower(), 7, error)  # of window 2, and no other
    with pytest.raises(expected, match=r"(?s)window 2 \(2020-01-01T00:30:00 to .*radar_007\.nc"):
        xvar.run(record, tmp_path / "a.zarr", **OPTIONS, batch=1)
    report = xvar.run(record, tmp_path / "a.zarr", **OPTIONS, batch=1, errors="continue")
    assert list(report.failed) == [2]
    assert "radar_007.nc" in report.failed[2]
    others = [0, 1, 3]
    assert same(load(tmp_path / "a.zarr").isel(window=others), whole.isel(window=others)) == []


def unfinished(folder: pathlib.Path) -> list[str]:
    """Files that were begun."""
    return [part.name for part in folder.rglob("*") if "partial" in part.name or part.name.endswith("draft")]


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of this kind")
@pytest.mark.parametrize("name", KINDS)
def test_a_disk_that_is_full(name: str, whole: xr.Dataset, tmp_path: pathlib.Path) -> None:
    import resource

    path = tmp_path / name
    with pytest.raises(Interrupted):
        xvar.run(shower(), path, **OPTIONS, batch=1, progress=Stopping(0, KeyboardInterrupt()))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, limits[1]))  # small files go through, fields do not
    try:
        # One batch at a time: none is written after the limit is lifted.
        with pytest.raises(StoreError, match=str(tmp_path)) as info, dask.config.set(scheduler="sync"):
            xvar.run(shower(), path, **OPTIONS, batch=1, errors="continue")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert isinstance(info.value, OSError)
    assert status(path).left == 4
    until = time.monotonic() + 10  # zarr's threads that write other arrays still clear up
    while (left := unfinished(tmp_path)) and time.monotonic() < until:
        time.sleep(0.1)
    assert left == []
    xvar.run(shower(), path, **OPTIONS)
    assert same(load(path), whole) == []


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of this kind")
def test_a_disk_that_is_full_when_the_parts_become_a_file(whole: xr.Dataset, tmp_path: pathlib.Path) -> None:
    import resource

    path = tmp_path / "a.nc"
    with pytest.raises(Interrupted):
        xvar.run(shower(), path, **OPTIONS, batch=1, progress=Stopping(4, KeyboardInterrupt()))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(StoreError, match=rf"parts are kept.*{path}"):
            xvar.run(shower(), path, **OPTIONS, batch=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [entry.name for entry in tmp_path.iterdir()] == [".a.nc.parts"]
    assert xvar.run(shower(), path, **OPTIONS, batch=1).before == 4
    assert same(load(path), whole) == []


def test_a_folder_that_cannot_be_written(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises((OSError, xvar.InputError), match="file"):
        xvar.run(shower(), tmp_path / "file" / "a.zarr", **OPTIONS)


@pytest.mark.parametrize("name", KINDS)
def test_failed_windows_are_run_again_if_asked(name: str, whole: xr.Dataset, tmp_path: pathlib.Path) -> None:
    error = FileNotFoundError(errno.ENOENT, "No such file or directory", "radar_007.nc")
    path, record = tmp_path / name, broken(shower(), 7, error)
    xvar.run(record, path, **OPTIONS, batch=1, errors="continue")
    assert list(xvar.run(shower(), path, **OPTIONS).failed) == [2]  # failed counts as done
    report = xvar.run(record, path, **OPTIONS, errors="continue", retry_failed=True)
    assert (report.before, list(report.failed)) == (3, [2])
    report = xvar.run(shower(), path, **OPTIONS, retry_failed=True)
    assert (report.done, report.failed) == (4, {})
    assert same(load(path), whole) == []
    assert status(path, verify=True).failed == {}


def test_a_chain_is_run_again_from_its_failed_window(tmp_path: pathlib.Path) -> None:
    path, cycled = tmp_path / "a.zarr", {**OPTIONS, "window": 3, "background": "cycled"}
    record = broken(shower(), 4, OSError(errno.EIO, "Input/output error", "radar_004.nc"))
    xvar.run(record, path, **cycled, batch=1, errors="continue")
    undisturbed = shower().var4d.assimilate(**cycled)
    assert same(load(path).isel(window=[2]), undisturbed.isel(window=[2])) != []  # it began anew
    assert xvar.run(shower(), path, **cycled, retry_failed=True).failed == {}
    assert same(load(path), undisturbed) == []


# --- what is killed (faults 73, 74, 81) ---

SCRIPT = """
import sys
import torch
torch.set_num_threads(1)
import xvar
from tests.runs.records import Slow, shower
if __name__ == "__main__":
    slow = Slow(max_evaluations=12, ftol=0.99, seconds=float(sys.argv[2]), sign=sys.argv[3])
    options = {"window": 4, "minimizer": slow}
    try:
        xvar.run(shower(), sys.argv[1], **options, batch=1)
    except KeyboardInterrupt as end:
        print(end)
        sys.exit(130)
"""


def started(path: pathlib.Path, seconds: float = 0.3) -> subprocess.Popen[str]:
    """A run in a process of its own, when it is at its first windows."""
    sign = path.with_name("begun")
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(path), str(seconds), str(sign)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    while not sign.exists() and process.poll() is None:
        time.sleep(0.02)
    sign.unlink(missing_ok=True)
    return process


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("name", KINDS)
def test_a_run_that_is_killed_goes_on(name: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / name
    with started(path) as process:
        process.kill()
    assert not (name.endswith("nc") and path.exists())
    sign = str(tmp_path / "begun")
    from tests.runs.records import Slow

    options = {"window": 4, "minimizer": Slow(max_evaluations=12, ftol=0.99, seconds=0.3, sign=sign)}
    # The lock is still there, of a process that is dead.
    assert (tmp_path / f".{name}.lock").exists()
    xvar.run(shower(), path, **options, batch=1)
    pathlib.Path(sign).unlink()
    reference = shower().var4d.assimilate(**options)
    pathlib.Path(sign).unlink()
    assert same(load(path), reference) == []
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_keeps_what_is_done(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.zarr"
    with started(path, 0.4) as process:
        while status(path).done == 0:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        words, _ = process.communicate()
    assert process.returncode == 130
    report = status(path)
    assert report.done >= 1
    assert report.running is None
    assert f"{report.done} of 4 windows done" in words or report.done == 4
    assert "the same command computes" in words


# --- what belongs to a run (identity) ---


@pytest.mark.parametrize("name", KINDS)
def test_a_record_that_has_grown_is_continued(name: str, tmp_path: pathlib.Path) -> None:
    path, grown = tmp_path / name, shower(20)
    xvar.run(grown.isel(time=slice(13)), path, **OPTIONS, batch=3)
    report = xvar.run(grown, path, **OPTIONS)
    assert (report.before, report.windows, report.done) == (4, 6, 6)
    assert same(load(path), grown.var4d.assimilate(**OPTIONS)) == []
    assert status(path, verify=True).damaged == ()
    with pytest.raises(xvar.InputError) as info:
        xvar.run(grown.isel(time=slice(13)), path, **OPTIONS)
    assert codes(info.value) == ["store-of-another-run"]


def test_a_record_that_grows_keeps_its_treatment_of_gaps(tmp_path: pathlib.Path) -> None:
    path, grown = tmp_path / "a.nc", shower(25).isel(time=[0, 1, 3, 4, *range(6, 25)])
    assert xvar.run(grown.isel(time=slice(7)), path, **OPTIONS).windows == 2  # across gaps: else there is none
    assert len(grown.var4d.assimilate(**OPTIONS)["window"]) == 6  # of the longest stretch
    report = xvar.run(grown, path, **OPTIONS)
    assert (report.before, report.windows) == (2, 7)
    assert same(load(path), grown.var4d.assimilate(**OPTIONS, gaps="cross")) == []
    with pytest.raises(xvar.InputError) as info:
        xvar.run(grown, path, **OPTIONS, gaps="split")
    assert codes(info.value) == ["store-of-another-run"]


class Still(torch.nn.Module):
    """A model without motion, whose attribute `gain` is no parameter."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, state: dict[str, torch.Tensor], seconds: float) -> dict[str, torch.Tensor]:
        return {name: self.gain * part for name, part in state.items()}


def still(record: xr.Dataset, gain: float) -> dict[str, Any]:
    background = record[["rain"]].isel(time=0, drop=True)
    return {
        "dynamics": Still(gain),
        "background": background,
        "background_error": {"rain": xvar.covariance.Diagonal(1.0)},
        "observation_error": 0.1,
        "window": 4,
    }


def test_another_attribute_of_a_model_is_refused(tmp_path: pathlib.Path) -> None:
    record = shower()
    xvar.run(record, tmp_path / "a.zarr", **still(record, 1.0))
    with pytest.raises(xvar.InputError) as info:
        xvar.run(record, tmp_path / "a.zarr", **still(record, 0.5))
    assert codes(info.value) == ["store-of-another-run"]
    assert xvar.run(record, tmp_path / "a.zarr", **still(record, 1.0)).before == 4


def test_another_grid_or_mask_is_refused(tmp_path: pathlib.Path) -> None:
    record = shower()
    mask = xr.DataArray(np.zeros((12, 12), bool), dims=("y", "x"))
    one, other = mask.copy(), mask.copy()
    one[0, 0] = other[0, 1] = True
    xvar.run(record, tmp_path / "a.zarr", **OPTIONS, land=one)
    kilometres = record.copy()
    for dim in "yx":
        kilometres[dim].attrs["units"] = "km"
    for data, land in ((record, other), (kilometres, one), (record, None)):
        with pytest.raises(xvar.InputError) as info:
            xvar.run(data, tmp_path / "a.zarr", **OPTIONS, land=land)
        assert codes(info.value) == ["store-of-another-run"]
