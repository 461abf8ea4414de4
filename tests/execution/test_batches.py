"""Batches in memory and as a dask graph."""

from __future__ import annotations

import logging
import pathlib
import pickle
import subprocess
import sys
import threading
from dataclasses import replace
from typing import Any

import dask
import dask.array
import numpy as np
import pytest
import torch
import xarray as xr
import zarr

import xvar
from tests.runs.records import OPTIONS, Failing, Locking, marked, same, shower
from xvar.execution.batches import (
    Output,
    Sizes,
    WindowBatch,
    WindowError,
    Work,
    batch_sizes,
    make_batches,
    solve_batch,
)
from xvar.execution.dispatch import run_batches, workers
from xvar.execution.schedule import Schedule


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole() -> xr.Dataset:
    torch.set_num_threads(1)
    return shower().var4d.assimilate(**OPTIONS)


def test_the_log_has_a_line_for_each_window(whole: xr.Dataset, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="xvar"):
        shower().var4d.assimilate(**OPTIONS)
    lines = [record.getMessage() for record in caplog.records if record.name == "xvar.execution.batches"]
    assert len(lines) == whole.sizes["window"]
    before, after = whole["cost"].values[0]
    assert lines[0] == (
        f"window 0 (2020-01-01T00:00:00 to 2020-01-01T00:15:00): converged, "
        f"J {before:.4g} to {after:.4g} in {int(whole['evaluations'][0])} evaluations"
    )


# --- the graph ---


class Counting:
    """A scheduler that counts what it is asked for."""

    def __init__(self) -> None:
        self.tasks: list[Any] = []

    def __call__(self, graph: Any, keys: Any, **options: Any) -> Any:
        self.tasks.append(graph)
        return dask.get(graph, keys)


def test_building_computes_nothing() -> None:
    counting = Counting()
    with dask.config.set(scheduler=counting):
        analysis = shower().chunk(time=3, y=5).var4d.assimilate(**OPTIONS)
    assert counting.tasks == []
    assert all(part.chunks for name, part in analysis.data_vars.items() if "window" in part.dims)


def test_a_window_reads_its_own_frames_only() -> None:
    read: list[int] = []

    def load(block_info: Any = None) -> np.ndarray:
        frame = block_info[None]["array-location"][0][0]
        read.append(frame)
        return shower()["rain"].values[frame : frame + 1]

    data = shower()
    data["rain"] = data["rain"].copy(data=dask.array.map_blocks(load, chunks=((1,) * 13, 12, 12), dtype="f4"))
    analysis = data.var4d.assimilate(**OPTIONS, stride=5, batch=1)
    analysis["u"].isel(window=1).compute(scheduler="synchronous")
    assert sorted(read) == [5, 6, 7, 8]
    read.clear()
    analysis["u"].compute(scheduler="synchronous")
    assert sorted(read) == [0, 1, 2, 3, 5, 6, 7, 8]  # not the one between the windows, nor what is left at the end


def test_a_batch_that_skips_frames_is_right() -> None:
    data = shower(14)
    eager = data.var4d.assimilate(**OPTIONS, stride=5)
    assert same(data.chunk(time=4).var4d.assimilate(**OPTIONS, stride=5, batch=2).compute(), eager) == []
    alone = data.isel(time=slice(5, 9)).var4d.assimilate(**OPTIONS)
    assert same(eager.isel(window=[1]), alone) == []


@pytest.mark.parametrize("chunks", [{"time": 1}, {"time": 5}, {"time": -1, "x": 5}, {"time": 4, "y": 7, "x": 5}])
@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_lazy_has_the_bits_of_eager(whole: xr.Dataset, chunks: dict[str, int], scheduler: str) -> None:
    lazy = shower().chunk(chunks).var4d.assimilate(**OPTIONS)
    assert same(lazy.compute(scheduler=scheduler), whole) == []


def test_lazy_looks_like_eager(whole: xr.Dataset) -> None:
    lazy = shower().chunk(time=5).var4d.assimilate(**OPTIONS)
    for name in whole.variables:
        assert lazy[name].dims == whole[name].dims
        assert lazy[name].dtype == whole[name].dtype
        assert repr(lazy[name].attrs) == repr(whole[name].attrs)
    assert lazy.attrs["title"] == "showers"


def test_gaps_do_not_break_the_chunks() -> None:
    data = shower(20).isel(time=[*range(9), *range(11, 20)])
    lazy = data.chunk(time=5).var4d.assimilate(**OPTIONS, batch=2, partial="keep", stride=4)
    assert lazy["u"].chunks[0] == (2, 2)
    assert same(lazy.compute(), data.var4d.assimilate(**OPTIONS, partial="keep", stride=4)) == []


@pytest.mark.parametrize("way", ["persist", "netcdf", "zarr", "region"])
def test_what_dask_does_with_it(whole: xr.Dataset, way: str, tmp_path: pathlib.Path) -> None:
    lazy = shower().chunk(time=5).var4d.assimilate(**OPTIONS, batch=2)
    if way == "persist":
        result = lazy.persist().compute()
    elif way == "netcdf":
        lazy.to_netcdf(tmp_path / "a.nc")
        result = xr.load_dataset(tmp_path / "a.nc")
    elif way == "zarr":
        lazy.to_zarr(tmp_path / "a.zarr")
        result = xr.open_zarr(tmp_path / "a.zarr").load()
    else:
        lazy.to_zarr(tmp_path / "a.zarr", compute=False)
        empty = xr.open_zarr(tmp_path / "a.zarr").load()
        if int(zarr.__version__.partition(".")[0]) >= 3:  # before, integers that were not written are whatever is there
            assert (empty["status"] == 0).all()
        assert np.isnan(empty["u"]).all()
        part = lazy.isel(window=slice(2, 4))
        part.drop_vars([n for n in part.variables if "window" not in part[n].dims]).to_zarr(
            tmp_path / "a.zarr", region={"window": slice(2, 4)}
        )
        lazy.isel(window=slice(0, 2)).drop_vars([n for n in part.variables if "window" not in part[n].dims]).to_zarr(
            tmp_path / "a.zarr", region={"window": slice(0, 2)}
        )
        result = xr.open_zarr(tmp_path / "a.zarr").load()
    assert same(result, whole) == []


def test_tasks_have_names_that_a_user_understands() -> None:
    analysis = shower().chunk(time=5).var4d.assimilate(**OPTIONS, batch=2)
    names = {key for key in analysis.__dask_graph__() if isinstance(key, str)}
    assert sum(name.startswith("assimilate-windows-0002-to-0003-") for name in names) == 1
    assert {dask.utils.key_split(name) for name in names} == {"assimilate-windows", "assimilate-options"}


def test_a_year_of_frames_is_a_small_graph() -> None:
    frames = 105_120
    data = xr.Dataset(
        {
            "rain": (
                ("time", "y", "x"),
                dask.array.zeros((frames, 256, 256), chunks=(288, 256, 256), dtype="f4"),
                {"units": "mm h-1"},
            )
        },
        {
            "time": np.datetime64("2020-01-01", "ns") + np.arange(frames) * np.timedelta64(300, "s"),
            "y": ("y", np.arange(256) * 1e3, {"units": "m"}),
            "x": ("x", np.arange(256) * 1e3, {"units": "m"}),
        },
    )
    analysis = data.var4d.assimilate(window=4)
    assert analysis.sizes["window"] == 35_039
    tasks = len(analysis["u"].data.dask.layers)
    assert tasks <= 4  # the zeros, the batches and u: the graph does not grow by a layer a batch
    # No product of time and windows: a few tasks for each batch.
    assert len(dict(analysis["u"].data.dask)) < 6 * analysis["u"].data.numblocks[0] + frames / 288 + 2


# --- sizes ---


def test_the_default_batch_is_a_twentieth_or_ten_seconds_of_work() -> None:
    with dask.config.set(num_workers=2):
        assert batch_sizes(None, 89, 256 * 256, 4, 80) == Sizes(5, 4)
        assert batch_sizes(None, 100_000, 256 * 256, 4, 80).task == 84
        assert batch_sizes(None, 5, 256 * 256, 4, 80) == Sizes(1, 1)
        assert batch_sizes(None, 5, 128 * 128, 4, 80, lazy=False) == Sizes(5, 5)
        assert batch_sizes(None, 89, 128 * 128, 4, 80, lazy=False) == Sizes(16, 16)
        assert batch_sizes(None, 1000, 10_000**2, 4, 80) == Sizes(1, 1)
    with dask.config.set(num_workers=100):
        assert batch_sizes(None, 800, 64 * 64, 4, 80).task == 2  # every worker gets some


def test_a_batch_by_count_or_by_memory() -> None:
    assert batch_sizes(7, 89, 64 * 64, 4, 80) == Sizes(7, 7)
    assert batch_sizes(1000, 89, 256 * 256, 4, 80) == Sizes(89, 4)
    small, large = (batch_sizes(text, 10_000, 256 * 256, 4, 80).task for text in ("100MiB", "1GiB"))
    assert 1 <= small < large < 300


def test_a_device_takes_as_many_windows_as_fit_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    assert batch_sizes(None, 89, 256 * 256, 4, 80, lazy=False, on_device=True) == Sizes(89, 89)
    assert batch_sizes(40, 89, 256 * 256, 4, 80, on_device=True) == Sizes(40, 40)
    free = {"cuda": 10 * 2**20, "cuda:1": 100}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free[str(device)], 2**30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 3 * 2**20 if device == "cuda" else 0)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 2**20 if device == "cuda" else 0)
    assert workers.fitting_windows("cuda", 2**20) == int(12 * workers.DEVICE_SHARE)
    assert workers.fitting_windows("cuda:1", 2**20) == 1
    for device in (None, "cpu", "mps"):
        assert workers.fitting_windows(device, 2**20) is None
    sizes: list[int] = []

    def solve(batch: WindowBatch) -> dict[str, Any]:
        sizes.append(len(batch))
        return {"status": np.zeros(len(batch), "int8")}

    schedule = Schedule(np.arange(24).reshape(12, 2), np.tile([0.0, 1.0], (12, 1)))
    (batch,) = make_batches(schedule, 12, np.arange(24.0))
    work = Work(solve, {"status": Output((), "int8", 0)}, "raise", together=12, device="cuda", window_bytes=2**21)
    solve_batch(work, batch, np.zeros((24, 4, 4)), np.arange(24))
    assert sizes == [4, 4, 4]
    assert vars(pickle.loads(pickle.dumps(replace(work, solve=len)))) == vars(replace(work, solve=len))


@pytest.mark.parametrize("batch", [0, -1, 1.5, True, "many", "-3MB"])
def test_a_batch_that_is_none_is_refused(batch: object) -> None:
    with pytest.raises(xvar.InputError, match="batch="):
        shower().var4d.assimilate(**OPTIONS, batch=batch)


def test_batches_hold_every_window_once() -> None:
    frames = np.array([[0, 1, 2], [2, 3, -1], [7, 8, 9]])
    first, second = make_batches(Schedule(frames, np.where(frames < 0, np.nan, frames * 1.0)), 2, np.arange(10.0))
    assert (first.begin, len(first), second.begin, len(second)) == (0, 2, 2, 1)
    np.testing.assert_array_equal(second.needed[second.frames], [[7, 8, 9]])
    assert list(first.needed) == [0, 1, 2, 3]
    assert first.frames[1, 2] == -1


def test_batches_of_any_size_have_the_same_bits() -> None:
    data = shower(97)
    alone = data.var4d.assimilate(**OPTIONS, batch=1)
    for size in (2, 7, 16, 17, 32):
        assert same(data.var4d.assimilate(**OPTIONS, batch=size), alone) == []


# --- windows that fail (faults 72) ---

FAILING = {"window": 4, "minimizer": Failing(max_evaluations=12, ftol=0.99)}


@pytest.mark.parametrize("lazy", [False, True])
def test_a_window_that_raises_ends_the_call_and_is_named(lazy: bool) -> None:
    data = marked(shower(), 6)  # the last frame of window 1
    data = data.chunk(time=5) if lazy else data
    with pytest.raises(
        WindowError, match=r"window 1 \(2020-01-01T00:15:00 to 2020-01-01T00:30:00\).*ArithmeticError: no motion"
    ):
        data.var4d.assimilate(**FAILING).compute()


@pytest.mark.parametrize("lazy", [False, True])
def test_a_window_that_raises_is_marked_and_leaves_the_others_alone(
    lazy: bool, whole: xr.Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    data = marked(shower(), 6)
    data = data.chunk(time=5) if lazy else data
    with caplog.at_level(logging.ERROR):
        analysis = data.var4d.assimilate(**FAILING, errors="continue", batch=4).compute()
    assert list(analysis["status"] == 5) == [False, True, False, False]
    assert np.isnan(analysis["u"][1]).all()
    assert np.isnan(analysis["cost"][1]).all()
    assert same(analysis.isel(window=[0, 3]), whole.isel(window=[0, 3])) == []
    assert "window 1 (" in caplog.text
    assert "no motion in this frame" in caplog.text


# --- threads, processes (faults 82 to 84, 86) ---


def test_torch_has_its_threads_back() -> None:
    torch.set_num_threads(2)
    seen: list[int] = []
    barrier = threading.Barrier(2)

    def task() -> None:
        with workers.one_torch_thread():
            barrier.wait()
            seen.append(torch.get_num_threads())
            barrier.wait()

    threads = [threading.Thread(target=task) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1, 1]
    assert torch.get_num_threads() == 2
    after: list[int] = []
    new = threading.Thread(target=lambda: after.append(torch.get_num_threads()))
    new.start()
    new.join()
    assert after == [2]  # a thread that begins later inherits what was there before


def test_a_task_that_ends_does_not_give_its_threads_to_another() -> None:
    torch.set_num_threads(2)
    seen: list[int] = []
    first_began, second_began, first_ended = (threading.Event() for _ in range(3))

    def first() -> None:
        with workers.one_torch_thread():
            first_began.set()
            second_began.wait(60)
        first_ended.set()

    def second() -> None:
        first_began.wait(60)
        with workers.one_torch_thread():
            second_began.set()
            first_ended.wait(60)
            seen.append(torch.get_num_threads())  # as the first operation of this thread would ask

    threads = [threading.Thread(target=task) for task in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1]


def test_a_task_leaves_the_threads_of_its_worker_alone() -> None:
    torch.set_num_threads(2)
    shower(5).chunk(time=5).var4d.assimilate(**OPTIONS).compute(scheduler="synchronous")
    assert torch.get_num_threads() == 2


def test_more_threads_than_cores_are_warned_of() -> None:
    data = shower(5).chunk(time=5)
    with dask.config.set(num_workers=1000), pytest.warns(workers.WorkerWarning, match="1000 worker threads on"):
        data.var4d.assimilate(**OPTIONS)


FORK = """
import multiprocessing, sys
import torch, xvar
from tests.runs.records import OPTIONS, shower

def solve():
    try:
        {call}
    except RuntimeError as error:
        print(error)

process = multiprocessing.get_context("fork").Process(target=solve)
process.start()
process.join(60)
print(process.exitcode)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
@pytest.mark.parametrize(
    "call", ["shower(5).var4d.assimilate(**OPTIONS)", "shower(5).chunk().var4d.assimilate(**OPTIONS).compute()"]
)
def test_a_fork_after_torch_is_refused(call: str) -> None:
    code = "import xvar.execution.batches\n" + FORK.format(call=call)
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert "forked from one in which torch was loaded" in run.stdout, run.stderr
    assert "spawn" in run.stdout
    assert run.stdout.split()[-1] == "0"


def test_the_processes_of_dask_have_the_same_bits(whole: xr.Dataset) -> None:
    lazy = shower().chunk(time=5).var4d.assimilate(**OPTIONS)
    assert same(lazy.compute(scheduler="processes", num_workers=1), whole) == []


def test_what_cannot_be_pickled_is_named() -> None:
    lazy = shower(5).chunk(time=5).var4d.assimilate(window=4, minimizer=Locking.make())
    with pytest.raises(xvar.InputError, match=r"minimizer\.guard \(_thread\.lock\)"):
        lazy.compute(scheduler="processes", num_workers=1)
    lazy.compute(scheduler="threads")  # where nothing has to travel it does no harm


def test_the_place_of_what_cannot_be_pickled() -> None:
    lock = threading.Lock()

    def closure() -> Any:
        return lock

    for value, place in (({"a": [1, lock]}, r"\['a'\]\[1\]"), (closure, "lock")):
        with pytest.raises(xvar.InputError, match=place):
            workers.refuse_unpicklable(value)
    workers.refuse_unpicklable(lambda: 1)


@pytest.mark.parametrize(("points", "threads"), [(64, 1), (2**9, 2)])
def test_small_grids_take_one_thread_and_give_the_others_back(points: int, threads: int) -> None:
    found = []

    def solve(batch: WindowBatch) -> dict[str, np.ndarray]:
        found.append(torch.get_num_threads())
        ones = np.ones(len(batch), dtype="int8")
        return {"status": ones, "cost": np.ones((len(batch), 2)), "evaluations": ones}

    schedule = Schedule(np.array([[0, 1]]), np.array([[0.0, 60.0]]))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        work = Work(solve, {"status": Output((), "int8", 0)}, "raise", together=1)
        run_batches(work, np.zeros((2, points, points), "float32"), schedule, 1, np.array([0.0, 60.0]))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert found == [threads]
