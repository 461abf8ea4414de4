"""Clusters of worker processes, also such that die."""

from __future__ import annotations

import os
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr

import xvar
from tests.runs.records import OPTIONS, Failing, Killing, Locking, Noting, Slow, marked, same, shower
from xvar.execution import workers
from xvar.execution.batches import WindowError
from xvar.execution.workers import started
from xvar.runs import Report, status

distributed = pytest.importorskip("distributed")

# A cluster leaves sockets and processes to the garbage collector when it is closed; nothing of ours.
pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::xvar.execution.workers.WorkerWarning"),  # of the machine that tests run on
]


@pytest.fixture(scope="module")
def whole() -> xr.Dataset:
    return shower().var4d.assimilate(**OPTIONS)


@pytest.fixture(scope="module")
def shared_client() -> Iterator[Any]:
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "10m"}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", scheduler_kwargs={"allowed_failures": 2}
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture
def client(shared_client: Any) -> Any:
    """Both workers: the test before may have killed one, which takes a while to come back."""
    shared_client.wait_for_workers(2, timeout=120)
    return shared_client


def load(path: pathlib.Path) -> xr.Dataset:
    with xr.open_zarr(path) as found:
        return found.load()


def test_two_workers_give_the_same_bits(client: Any, whole: xr.Dataset, tmp_path: pathlib.Path) -> None:
    with client.as_current():
        lazy = shower().chunk(time=5).var4d.assimilate(**OPTIONS)
        assert same(lazy.compute(), whole) == []
        persisted = shower().chunk(time=5).persist()
        told: list[Report] = []
        report = xvar.run(persisted, tmp_path / "a.zarr", **OPTIONS, batch=1, progress=told.append)
    assert (report.done, told[-1].left) == (4, 0)
    assert same(load(tmp_path / "a.zarr"), whole) == []


def test_an_address_is_enough(client: Any, whole: xr.Dataset, tmp_path: pathlib.Path) -> None:
    xvar.run(shower(), tmp_path / "a.zarr", **OPTIONS, scheduler=client.scheduler.address)
    assert same(load(tmp_path / "a.zarr"), whole) == []


def test_the_default_batch_keeps_every_worker_busy(client: Any) -> None:
    with client.as_current():
        lazy = shower(31).chunk(time=5).var4d.assimilate(**OPTIONS)
    assert lazy["u"].data.numblocks[0] >= 8


def test_what_cannot_be_pickled_is_refused_before_anything_is_sent(client: Any, tmp_path: pathlib.Path) -> None:
    # Fault 84.
    options = {"window": 4, "minimizer": Locking.make()}
    with client.as_current():
        with pytest.raises(xvar.InputError, match=r"minimizer\.guard \(_thread\.lock\)"):
            shower().chunk(time=5).var4d.assimilate(**options)
        with pytest.raises(xvar.InputError, match=r"minimizer\.guard"):
            xvar.run(shower(), tmp_path / "a.zarr", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_window_that_fails_on_a_worker(client: Any, tmp_path: pathlib.Path) -> None:
    options = {"window": 4, "minimizer": Failing(max_evaluations=12, ftol=0.99)}
    record = marked(shower(), 6)
    with client.as_current():
        with pytest.raises(WindowError, match=r"window 1 \(2020-01-01T00:15:00"):
            xvar.run(record, tmp_path / "a.zarr", **options, batch=2)
        report = xvar.run(record, tmp_path / "a.zarr", **options, batch=2, errors="continue")
    assert report.failed == {1: "ArithmeticError: no motion in this frame"}
    assert report.left == 0


def kill_one(client: Any) -> None:
    """Kill a worker, by its process."""
    found = [info["pid"] for info in client.run(_pid).values()]
    os.kill(random.choice(found), signal.SIGKILL)


def _pid() -> dict[str, int]:
    return {"pid": os.getpid()}


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_killed_worker_costs_nothing(client: Any, whole: xr.Dataset, tmp_path: pathlib.Path) -> None:
    # Fault 70.
    victims = iter([True])

    def progress(report: Report) -> None:
        if report.done and next(victims, False):
            kill_one(client)

    options = {"window": 4, "minimizer": Slow(max_evaluations=12, ftol=0.99, seconds=0.2)}
    with client.as_current():
        report = xvar.run(shower(), tmp_path / "a.zarr", **options, batch=1, progress=progress)
    assert next(victims, None) is None  # it was killed
    assert (report.done, report.failed) == (4, {})
    assert same(load(tmp_path / "a.zarr"), whole) == []


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("options", [{"window": 4}, {"window": 3, "background": "cycled"}], ids=["alone", "chain"])
@pytest.mark.long
def test_what_is_stored_is_not_solved_again_where_its_worker_dies(
    options: dict[str, Any], client: Any, tmp_path: pathlib.Path
) -> None:
    # Fault 70: dask forgets what the dead worker held, and the beginning of a chain with it.
    sign, windows = tmp_path / "minimisations", 16
    record = shower(3 * windows + 1)

    def call(seconds: float) -> dict[str, Any]:
        minimizer = Noting(max_evaluations=12, ftol=0.99, seconds=seconds, sign=str(sign))
        return {**options, "minimizer": minimizer, "batch": 1}

    undisturbed = record.chunk(time=10).var4d.assimilate(**call(0)).compute(scheduler="synchronous")
    each = len(sign.read_text().split()) // windows
    sign.unlink()
    killed: list[int] = []

    def progress(report: Report) -> None:
        if report.done >= 12 and not killed:
            workers_of = sign.read_text().split()
            killed.append(int(max(workers_of, key=workers_of.count)))
            os.kill(killed[0], signal.SIGKILL)

    with client.as_current():
        report = xvar.run(record.chunk(time=10), tmp_path / "a.zarr", **call(0.1), progress=progress)
    assert killed
    assert (report.done, report.failed) == (windows, {})
    assert same(load(tmp_path / "a.zarr"), undisturbed) == []
    # The window in flight, and those whose report was on its way.
    assert len(sign.read_text().split()) <= each * (windows + 3)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.long
def test_a_result_that_dies_with_its_worker_before_it_is_fetched(
    client: Any, whole: xr.Dataset, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fault 70: the batch is done, its numbers are not here yet, and nobody else has them.
    gather = client.gather
    lost: list[Any] = []

    def after_a_death(futures: list[Any], **options: Any) -> Any:
        if futures and not lost:
            lost.extend(futures)
            pids = client.run(_pid)
            for worker in {address for addresses in client.who_has(futures).values() for address in addresses}:
                os.kill(pids[worker]["pid"], signal.SIGKILL)
            for _ in range(600):
                if all(future.status != "finished" for future in futures):
                    break
                time.sleep(0.1)
        return gather(futures, **options)

    monkeypatch.setattr(client, "gather", after_a_death)
    with client.as_current():
        report = xvar.run(shower(), tmp_path / "a.zarr", **OPTIONS, batch=1)
    assert lost
    assert (report.done, report.failed) == (4, {})
    assert same(load(tmp_path / "a.zarr"), whole) == []


@pytest.mark.long
def test_a_cluster_that_goes_away_marks_no_window_as_failed(tmp_path: pathlib.Path) -> None:
    options = {"window": 4, "minimizer": Slow(max_evaluations=12, ftol=0.99, seconds=0.2)}

    def progress(report: Report) -> None:
        if report.done == 1:
            for future in list(client.futures):
                distributed.Future(future, client).cancel(force=True)

    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
        client.as_current(),
        pytest.raises(workers.WorkerError, match="the same command computes"),
    ):
        xvar.run(shower(), tmp_path / "a.zarr", **options, batch=1, errors="continue", progress=progress)
    report = status(tmp_path / "a.zarr")
    assert report.failed == {}
    assert 1 <= report.done < 4


def test_workers_that_would_be_forked_are_refused(tmp_path: pathlib.Path) -> None:
    # Fault 82.
    with (
        dask.config.set({"distributed.worker.multiprocessing-method": "fork"}),
        pytest.raises(workers.WorkerError, match="spawn"),
    ):
        xvar.run(shower(), tmp_path / "a.zarr", **OPTIONS, workers=1)


def test_more_workers_than_cores_are_warned_of(client: Any) -> None:
    # Fault 83.
    with client.as_current():
        here = workers.local_threads()
    assert here == 2
    with pytest.warns(workers.WorkerWarning, match="2 worker threads on 1 cores"):
        workers.warn_if_crowded(here, cores=1)


UNGUARDED = """
import xvar
from tests.runs.records import OPTIONS, shower
{guard}    xvar.run(shower(), "a.zarr", **OPTIONS, workers=1)
"""


@pytest.mark.long
@pytest.mark.parametrize("guarded", [True, False])
def test_a_script_without_its_guard_is_told(guarded: bool, tmp_path: pathlib.Path) -> None:
    # Fault 85.
    script = tmp_path / "script.py"
    script.write_text(UNGUARDED.format(guard='if __name__ == "__main__":\n' if guarded else "if True:\n"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(pathlib.Path(__file__).parents[2]), *sys.path[1:]])}
    run = subprocess.run(
        [sys.executable, "-W", "ignore", str(script)],
        capture_output=True, text=True, check=False, timeout=300, cwd=tmp_path, env=environment,
    )  # fmt: skip
    if guarded:
        assert run.returncode == 0, run.stderr
        assert status(tmp_path / "a.zarr").done == 4
    else:
        assert run.returncode != 0
        assert 'if __name__ == "__main__":' in run.stderr


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_window_that_kills_is_marked_and_the_others_are_done(whole: xr.Dataset, tmp_path: pathlib.Path) -> None:
    # Fault 71.
    options = {"window": 4, "minimizer": Killing(max_evaluations=12, ftol=0.99)}
    report = xvar.run(marked(shower(), 6), tmp_path / "a.zarr", **options, batch=2, workers=1)
    assert list(report.failed) == [1]
    assert "worker died 3 times" in report.failed[1]
    assert (report.done, report.left) == (3, 0)
    assert same(load(tmp_path / "a.zarr").isel(window=[0, 3]), whole.isel(window=[0, 3])) == []


CHAOS = """
import sys
import torch
torch.set_num_threads(1)
import dask, distributed, xvar
from tests.runs.records import Slow, shower

if __name__ == "__main__":
    path, windows, seconds, size = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    options = {"window": 4, "minimizer": Slow(max_evaluations=12, ftol=0.99, seconds=seconds)}
    xvar.run(shower(3 * windows + 1).chunk(time=10), path, **options, batch=size, workers=2)
"""


def children(pid: int) -> list[int]:
    """Worker processes of a run."""
    psutil = pytest.importorskip("psutil")
    try:
        found = psutil.Process(pid).children(recursive=True)
        return [child.pid for child in found if "resource_tracker" not in " ".join(child.cmdline())]
    except psutil.Error:
        return []


def chaos(path: pathlib.Path, windows: int, *, kills: int, every: float, seconds: float, size: int) -> int:
    """A run whose workers are killed at random and which is killed itself `kills` times; gives the workers' deaths.

    A worker is killed once `every` seconds have passed, but not before another batch was done: on a machine that is
    busy workers take longer than that to start, and nothing would ever be finished.
    """
    chance = random.Random(0)
    deaths = 0
    for attempt in range(kills + 1):
        command = [sys.executable, "-W", "ignore", "-c", CHAOS, str(path), str(windows), str(seconds), str(size)]
        with path.with_suffix(".log").open("w") as log:
            run = subprocess.Popen(command, stderr=log)
        before = status(path).done if path.exists() else 0
        goal = before + (windows - before) // (kills + 1 - attempt)  # at which the run itself is killed
        struck, then = time.monotonic(), before
        while run.poll() is None:
            time.sleep(0.1)
            done = status(path).done if path.exists() else 0
            if attempt < kills and done >= goal:
                run.kill()
            elif done > then and time.monotonic() - struck > every:
                found = children(run.pid)
                if found:
                    os.kill(chance.choice(found), signal.SIGKILL)
                    deaths += 1
                    struck, then = time.monotonic(), done
        expected = 0 if attempt == kills else -signal.SIGKILL
        assert run.wait() == expected, path.with_suffix(".log").read_text()[-3000:]
    return deaths


def assert_undisturbed(path: pathlib.Path, windows: int) -> None:
    found = load(path)
    options = {"window": 4, "minimizer": Slow(max_evaluations=12, ftol=0.99, seconds=0)}
    expected = shower(3 * windows + 1).var4d.assimilate(**options)
    assert status(path).done == windows
    differences = {}
    for name in same(found, expected):
        one, other = (part[name].values.astype(float).reshape(windows, -1) for part in (found, expected))
        apart = np.abs(one - other).max(axis=1)  # NaN where one of them was not written
        differences[name] = dict(zip(np.flatnonzero(apart != 0).tolist(), apart[apart != 0].tolist(), strict=True))
    assert differences == {}, f"by variable and window; the reference again: {_again(expected, options)}"


def _again(expected: xr.Dataset, options: dict[str, Any]) -> list[str]:
    """Variables in which the reference itself differs when it is computed once more."""
    return same(shower(3 * expected.sizes["window"] + 1).var4d.assimilate(**options), expected)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.long
def test_chaos(tmp_path: pathlib.Path) -> None:
    chaos(tmp_path / "a.zarr", 12, kills=1, every=8, seconds=0.3, size=2)
    assert_undisturbed(tmp_path / "a.zarr", 12)


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_chaos_for_long(tmp_path: pathlib.Path) -> None:
    windows = int(os.environ.get("XVAR_CHAOS", "80"))
    deaths = chaos(tmp_path / "a.zarr", windows, kills=2, every=4, seconds=0.4, size=2)
    assert deaths >= windows // 20
    assert_undisturbed(tmp_path / "a.zarr", windows)


def test_ctrl_c_lets_the_workers_go(client: Any, tmp_path: pathlib.Path) -> None:
    # Fault 81.
    def progress(report: Report) -> None:
        if report.done >= 1:
            raise KeyboardInterrupt

    options = {"window": 4, "minimizer": Slow(max_evaluations=12, ftol=0.99, seconds=0.5)}
    with client.as_current(), pytest.raises(KeyboardInterrupt, match="the same command computes"):
        xvar.run(shower(25), tmp_path / "a.zarr", **options, batch=1, progress=progress)
    for _ in range(100):
        if not client.processing() or not any(client.processing().values()):
            break
        time.sleep(0.1)
    assert not any(client.processing().values())
    assert 1 <= status(tmp_path / "a.zarr").done < 8
    assert threading.active_count() < 50


def test_workers_of_a_run_have_no_profiler_and_start() -> None:
    with started(1) as client:
        assert client.run(dask.config.get, "distributed.worker.profile.enabled") == dict.fromkeys(
            client.nthreads(), False
        )
