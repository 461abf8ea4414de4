"""What long records cost: ``python -m benchmarks.windows`` writes windows.md and windows.json beside this file.

Each part runs in a process of its own, with one torch thread. ``--quick`` takes a tenth of everything.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything loads a numerical library

import argparse
import contextlib
import functools
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import xvar

HERE = Path(__file__).parent
Figures = dict[str, float]
READING = threading.Lock()  # threads that open one file at once have crashed the library below


def data_folder() -> Path:
    """Where the radar events lie."""
    return Path(os.environ.get("XVAR_TEST_DATA", HERE.parents[1] / "shared" / "data"))


@functools.lru_cache
def radar() -> xr.Dataset:
    """The long series: 92 frames of 256 x 256; not to be changed."""
    with READING, xr.open_dataset(data_folder() / "radar-knmi-20100826.nc") as record:
        return record[["rainfall_rate"]].load()


def long_record(frames: int, *, chunk: int, lazy_zeros: bool = False) -> xr.Dataset:
    """The series again and again, on dask."""
    import dask.array

    once = radar()
    if lazy_zeros:
        values = dask.array.zeros((frames, 256, 256), chunks=(chunk, 256, 256), dtype="f4")
    else:
        places = np.arange(frames) % once.sizes["time"]
        values = dask.array.concatenate(
            [
                dask.array.from_delayed(
                    dask.delayed(_frames)(tuple(int(i) for i in places[begin : begin + chunk])),
                    (len(places[begin : begin + chunk]), 256, 256),
                    "f4",
                )
                for begin in range(0, frames, chunk)
            ]
        )
    time_axis = np.datetime64("2020-01-01", "ns") + np.arange(frames) * np.timedelta64(300, "s")
    return xr.Dataset(
        {"rainfall_rate": (("time", "y", "x"), values, once["rainfall_rate"].attrs)},
        {"time": ("time", time_axis, once["time"].attrs), "y": once["y"], "x": once["x"]},
    )


def _frames(places: tuple[int, ...]) -> np.ndarray[Any, Any]:
    return radar()["rainfall_rate"].values[list(places)].astype("f4")


def cheap() -> Any:
    """A minimiser that hardly minimises: what stands around it is measured."""
    return xvar.minimize.LBFGS(max_evaluations=3)


@contextlib.contextmanager
def cluster(workers: int) -> Iterator[Any]:
    """Worker processes of one thread each."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0") as started,
        Client(started) as client,
    ):
        yield client


# --- parts ---


def graph(share: float) -> Figures:  # noqa: ARG001  (a year is a year)
    """The graph of a year of frames."""
    import tracemalloc

    import dask
    import torch  # noqa: F401  (its import is not what is measured)

    computes = []

    def counting(tasks: Any, keys: Any, **_: Any) -> Any:
        computes.append(len(tasks))
        return dask.get(tasks, keys)

    record = long_record(105_120, chunk=288, lazy_zeros=True)
    with dask.config.set(scheduler=counting):
        begin = time.perf_counter()
        analysis = record.var4d.assimilate(window=4)
        seconds = time.perf_counter() - begin
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        kept = record.var4d.assimilate(window=4)
        memory = tracemalloc.get_traced_memory()[1] - before
    del kept
    return {
        "computes": len(computes),
        "seconds": seconds,
        "MiB": memory / 2**20,
        "windows": analysis.sizes["window"],
        "tasks": len(analysis.__dask_graph__().to_dict()),
    }


def workers(share: float) -> Figures:
    """Two worker processes against one, as a share of what a bare load gains."""
    frames = max(13, int(92 * share))
    record = radar().isel(time=slice(0, frames)).chunk(time=6)
    times, bare = [], []
    for number in (1, 2):
        with cluster(number) as client:

            def load(client: Any = client) -> None:
                client.gather(client.map(_spin, range(8), pure=False))

            def call() -> None:
                record.var4d.assimilate(window=4, stride=1)[["u", "v"]].compute()

            load()
            bare.append(min(_seconds(load), _seconds(load)))
            record.isel(time=slice(0, 5)).var4d.assimilate(window=4, batch=1)["u"].compute()
            times.append(min(_seconds(call) for _ in range(2)))
            bare[-1] = min(bare[-1], _seconds(load))
    gain, possible = times[0] / times[1], bare[0] / bare[1]
    return {
        "windows": frames - 3,
        "one worker, s": times[0],
        "two workers, s": times[1],
        "gain": gain,
        "gain of a bare load": possible,
        "share": gain / possible,
    }


def _spin(_: int) -> None:
    """A bare load: 100 samplings of eight 256 x 256 fields in one thread."""
    import torch

    torch.set_num_threads(1)
    fields, grid = torch.rand(8, 3, 256, 256), torch.rand(8, 256, 256, 2) * 2 - 1
    for _ in range(100):
        torch.nn.functional.grid_sample(fields, grid, align_corners=True)


def _seconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def _cpu(call: Callable[[], object]) -> float:
    begin = time.process_time()
    call()
    return time.process_time() - begin


def overhead(share: float) -> Figures:
    """CPU time of building and computing the graph over that of a plain loop over the same batches."""
    import torch

    from xvar.execution.batches import solve_batch
    from xvar.execution.dispatch import deferred

    torch.set_num_threads(1)
    record = radar().isel(time=slice(0, max(13, int(91 * share))))
    size = 3
    with deferred() as tasks:
        record.var4d.assimilate(window=4, batch=size)
    values, held, work = record["rainfall_rate"].values, np.arange(record.sizes["time"]), tasks.work
    assert work is not None

    def loop() -> None:
        solved = [solve_batch(work, batch, values, held).arrays for batch in tasks.batches]
        for name in solved[0]:
            np.concatenate([part[name] for part in solved])

    batched = record.chunk(time=6)

    def lazy() -> None:
        batched.var4d.assimilate(window=4, batch=size).compute(scheduler="synchronous")

    loop()
    pairs = [(_cpu(loop), _cpu(lazy)) for _ in range(5)]
    plain, dask = (min(column) for column in zip(*pairs, strict=True))
    shares = [each / bare - 1 for bare, each in pairs]
    return {
        "loop, s": plain,
        "dask, s": dask,
        "overhead": dask / plain - 1,
        "least of five pairs": min(shares),
        "most of five pairs": max(shares),
    }


def memory(share: float) -> Figures:
    """Peak memory of runs into a Zarr store, the second ten times as long."""
    peaks = {}
    for frames in (int(365 * share), int(3650 * share)):
        code = f"""
import resource, tempfile, dask, xvar
from benchmarks.windows import cheap, long_record
with dask.config.set(scheduler="synchronous"), tempfile.TemporaryDirectory() as folder:
    xvar.run(long_record({frames}, chunk=12), folder + "/a.zarr", window=4, minimizer=cheap(), batch=4)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
        peaks[f"{frames} frames, MiB"] = float(done.stdout)
    first, second = peaks.values()
    return {**peaks, "growth": second / first - 1}


def linear(share: float) -> Figures:
    """CPU time a window, over the number of windows."""
    import torch

    torch.set_num_threads(1)
    numbers = [10, 30, 100, 300, int(1000 * max(share, 0.4))]
    frames = 3 * numbers[-1] + 1
    # Ten windows again and again: another storm would take other work.
    small = radar().isel(time=np.arange(frames) % 30, y=slice(96, 160), x=slice(96, 160))
    small["time"] = np.datetime64("2020-01-01", "ns") + np.arange(frames) * np.timedelta64(300, "s")
    options = {"window": 4, "batch": 10}

    def run(windows: int) -> None:
        part = small.isel(time=slice(0, 3 * windows + 1)).chunk(time=30)
        part.var4d.assimilate(**options).compute(scheduler="synchronous")

    run(10)
    each = {
        number: min(_cpu(lambda n=number: run(n)) for _ in range(5 if number < 100 else 2)) / number
        for number in numbers
    }
    last = each[numbers[-1]]
    return {
        **{f"{number} windows, ms each": 1e3 * value for number, value in each.items()},
        "deviation from linear, 100 and more": max(abs(each[n] / last - 1) for n in numbers if n >= 100),
        "deviation from linear, all": max(abs(each[n] / last - 1) for n in numbers),
    }


def scheduler(share: float) -> Figures:
    """100 000 windows that do nothing, each a task, on two workers: what the scheduler can take."""
    import dask.array

    from xvar.execution.batches import Output, Work, make_batches
    from xvar.execution.dispatch import deferred, lazy_batches
    from xvar.execution.schedule import Schedule
    from xvar.runs.journal import WriteRecord
    from xvar.runs.tasks import write_tasks

    windows = int(100_000 * share)
    frames = np.stack([np.arange(windows) * 3 + step for step in range(4)], axis=1)
    schedule = Schedule(frames, np.tile(np.arange(4) * 300.0, (windows, 1)))
    outputs = {"u": Output((4, 1, 16), "float32"), "status": Output((), "int8", fill=0)}
    work = Work(_nothing, outputs, "raise", 1)
    data = dask.array.zeros((3 * windows + 1, 1, 1), chunks=(288, 1, 1), dtype="f4")
    with deferred() as tasks:
        begin = time.perf_counter()
        arrays = lazy_batches(work, data, make_batches(schedule, 1, np.arange(3.0 * windows + 1)), tasks)
        built = time.perf_counter() - begin
    analysis = xr.Dataset({"u": (("window", "step", "y", "x"), arrays["u"]), "status": ("window", arrays["status"])})
    done = 0
    with cluster(2) as client:
        from distributed import as_completed

        begin = time.perf_counter()
        graph, wanted = write_tasks(analysis, tasks, _Nowhere(), range(windows), np.zeros(windows, "int8"))
        optimised = time.perf_counter() - begin
        begin = time.perf_counter()
        futures = client.get(graph, list(wanted), sync=False)
        submitted = time.perf_counter() - begin
        for batch in as_completed(futures).batches():
            results: list[WriteRecord] = client.gather(list(batch))
            done += len(results)
        seconds = time.perf_counter() - begin
        used = client.run_on_scheduler(_resources)
    assert done == windows
    return {
        "windows": windows,
        "tasks": len(graph),
        "build, s": built,
        "optimise, s": optimised,
        "submit, s": submitted,
        "run, s": seconds,
        "ms a window": 1e3 * seconds / windows,
        "peak memory of client and scheduler, MiB": used,
    }


def _nothing(windows: Any) -> dict[str, Any]:
    return {"u": np.zeros((len(windows), 4, 1, 16), "f4"), "status": np.ones(len(windows), "i1")}


class _Nowhere:
    """Store that keeps nothing."""

    def write(self, begin: int, fields: Any, **_: Any) -> tuple[dict[str, int], tuple[int, int]]:
        return {}, (begin, begin + len(fields["u"]))


def _resources() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def store(share: float) -> Figures:  # noqa: ARG001  (it is short)
    """What the store costs beside the solving."""
    record = radar().isel(time=slice(0, 31))
    with tempfile.TemporaryDirectory() as folder:
        import dask

        with dask.config.set(scheduler="synchronous"):
            xvar.run(record, Path(folder) / "w.zarr", window=4, minimizer=cheap(), batch=2)
            plain = _cpu(lambda: record.chunk(time=6).var4d.assimilate(window=4, minimizer=cheap(), batch=2).compute())
            run = _cpu(lambda: xvar.run(record, Path(folder) / "a.zarr", window=4, minimizer=cheap(), batch=2))
            again = _seconds(lambda: xvar.run(record, Path(folder) / "a.zarr", window=4, minimizer=cheap(), batch=2))
        size = sum(path.stat().st_size for path in (Path(folder) / "a.zarr").rglob("*") if path.is_file())
        files = sum(path.is_file() for path in (Path(folder) / "a.zarr").rglob("*"))
    return {
        "CPU ms a window": 1e3 * (run - plain) / 10,
        "a run that has nothing to do, s": again,
        "MB a window of 256 x 256": size / 10 / 1e6,
        "files": files,
    }


PARTS = {part.__name__: part for part in (graph, workers, overhead, memory, linear, store, scheduler)}


def table(results: dict[str, Figures]) -> str:
    """The figures as markdown."""
    lines = []
    for name, figures in results.items():
        head = (PARTS[name].__doc__ or "").rstrip(".")
        lines += [f"### {head}", "", "| | |", "|---|---:|"]
        lines += [
            f"| {key} | {value:.4g} |" if value < 1e4 else f"| {key} | {value:,.0f} |" for key, value in figures.items()
        ]
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Measure, each part by itself, and write what was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.windows", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--share", type=float, default=1.0, help="of the full size")
    parser.add_argument("--here", action="store_true", help="in this process, figures as JSON on the last line")
    options = parser.parse_args()
    if options.here:
        print(json.dumps(PARTS[options.parts[0]](options.share)))
        return
    file = HERE / "windows.json"
    results = json.loads(file.read_text()) if file.exists() else {}
    for name in options.parts or PARTS:
        command = [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "benchmarks.windows",
            name,
            "--here",
            "--share",
            str(options.share),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=HERE.parent)
        results[name] = json.loads(done.stdout.splitlines()[-1])
        print(name, results[name], flush=True)
        ordered = {part: results[part] for part in PARTS if part in results}
        file.write_text(json.dumps(ordered, indent=2) + "\n")
        (HERE / "windows.md").write_text("# What long records cost\n\n" + table(ordered))


if __name__ == "__main__":
    main()
