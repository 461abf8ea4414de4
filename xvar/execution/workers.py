"""Workers: clients, devices, and what gives a batch the same bits: one torch thread, no fork, picklable objects."""

from __future__ import annotations

import functools
import io
import logging
import multiprocessing
import os
import re
import socket
import sys
import threading
import types
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import dask.config
from dask.system import CPU_COUNT

from xvar.errors import InputError, require, warn

_DEPTH_OF_SEARCH = 6
_SPAWN = (
    'Start processes by "spawn", as dask does by default: multiprocessing.get_context("spawn"), or dask.config.set({'
    '"multiprocessing.context": "spawn", "distributed.worker.multiprocessing-method": "spawn"})'
)

DEVICE_SHARE = 0.8  # of the free memory of a device, that windows may take
DEATHS = 3  # of workers, before the batch that they ran is blamed
# Ctrl-C reaches all processes of a terminal: the workers ignore it, and the run ends them.
_PRELOAD = """
import logging, signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
logging.getLogger("distributed.worker.state_machine").setLevel(logging.ERROR)
"""
_CONFIG = {
    # The statistical profiler of workers keeps what it has seen: 25 MB over 800 windows.
    "distributed.worker.profile.enabled": False,
    # A worker that takes longer than this to come back is dropped, and with the last one the run would hang.
    "distributed.deploy.lost-worker-timeout": "1h",
}


class WorkerError(RuntimeError):
    """Workers were started in a way in which they cannot work."""


class WorkerWarning(UserWarning):
    """Workers are set up so that they hinder one another."""


# --- threads of torch ---


_torch_lock = threading.Lock()
_torch = {"tasks": 0, "threads": 1}  # running tasks in this process, and torch's threads before the first of them


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Use one thread of torch in the calling thread, and restore the number at the end.

    Workers already share the cores, and reductions of torch keep their bits with one thread only. Torch counts threads
    for each thread of the process, but a new thread begins with the number that was set last in any of them: every task
    restores the number before the first of overlapping tasks.
    """
    import torch

    with _torch_lock:
        # Always asked: a thread that torch does not know yet takes, at its first operation, the number that was set
        # last, and that may be the number which a task that ends meanwhile restores.
        before = torch.get_num_threads()
        if _torch["tasks"] == 0:
            _torch["threads"] = before
        _torch["tasks"] += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _torch_lock:
            _torch["tasks"] -= 1
            torch.set_num_threads(_torch["threads"])


def warn_if_crowded(threads: int, cores: int | None = None) -> None:
    """Warn if more threads, workers times the threads of each, work at once than there are cores."""
    cores = CPU_COUNT if cores is None else cores
    if threads > cores:
        warn(
            f"{threads} worker threads on {cores} cores: every window keeps a core busy, and more threads only cost"
            f" memory; workers times threads of at most {cores} suits this machine",
            WorkerWarning,
        )


def local_threads() -> int | None:
    """Return the threads that would compute on this machine now; None if unknown."""
    client = active_client()
    if client is None:
        stated = dask.config.get("num_workers", None)
        return None if stated is None else int(stated)
    here = {"127.0.0.1", "localhost", socket.gethostname()}
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return sum(
        int(worker["nthreads"])
        for worker in workers
        if worker["host"] in here or str(worker.get("id", "")).startswith("inproc")
    )


# --- devices ---


def take_device(device: str | None) -> None:
    """Select the device of a call; InputError if this machine has no such device.

    For "cuda" without a number each worker of a machine takes one of its devices. A process that is no worker, or a
    worker of dask-cuda, which has its own devices, keeps the current one.
    """
    if device is None:
        return
    import torch

    wanted = torch.device(device)
    if wanted.type == "cuda" and wanted.index is None and torch.cuda.device_count() > 1:
        worker = _worker()
        if worker is not None and "dask_cuda" not in sys.modules:
            torch.cuda.set_device(_place(worker) % torch.cuda.device_count())
    try:
        torch.empty(0, device=wanted)
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        raise InputError(
            code="no-such-device",
            found=f"device={str(device)!r}, which torch does not have here: {' '.join(str(error).split())}",
            expected="a device of the machine that solves the windows",
            fix="leave device out to use the processor, or install torch and a driver for that device",
        ) from error


def is_accelerator(device: str | None) -> bool:
    """Return True for a device that is not the processor."""
    return device is not None and not device.startswith("cpu")


def fitting_windows(device: str | None, window_bytes: float) -> int | None:
    """Return how many windows of so many bytes fit the free memory of a device, at least one; None if unknown."""
    if device is None or not device.startswith("cuda") or not window_bytes:
        return None
    import torch

    free, _ = torch.cuda.mem_get_info(torch.device(device))
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by torch, for later fields
    return max(1, int(DEVICE_SHARE * (free + kept) / window_bytes))


def _worker() -> Any:
    """Return the worker of dask.distributed that runs this task, or None."""
    if "distributed" not in sys.modules:
        return None
    import distributed

    try:
        return distributed.get_worker()
    except ValueError:
        return None


def _place(worker: Any) -> int:
    """Return the number of a worker on its machine: the end of its name, such as 2, or gpu-2."""
    number = re.fullmatch(r"(?:.*-)?(\d+)", str(worker.name))
    return int(number[1]) if number else _place_by_address(str(worker.address))


@functools.cache  # it stays the same if another worker is started again
def _place_by_address(address: str) -> int:
    """Return the number of a worker without a name: of its address among those of the machine."""
    import distributed

    known = distributed.get_client().scheduler_info(n_workers=-1)["workers"]
    here = [other for other, about in known.items() if about["host"] == known[address]["host"]]
    return sorted(here).index(address)


# --- clusters ---


def active_client() -> Any:
    """Return the active client of dask.distributed, or None."""
    if "distributed" not in sys.modules:
        return None
    import distributed

    if dask.config.get("scheduler", None) not in (None, "dask.distributed", "distributed"):
        return None  # such as "threads": the user does not want the cluster
    try:
        return distributed.get_client()
    except ValueError:
        return None


def cluster_threads() -> int:
    """Return the number of tasks that run at once."""
    client = active_client()
    if client is not None:
        return sum(client.nthreads().values())
    return int(dask.config.get("num_workers", None) or CPU_COUNT)


# --- processes ---


_forked = threading.Event()  # set in a process that was forked from one in which torch was loaded
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _forked.set() if "torch" in sys.modules else None)


#: Seconds of a core until a worker process solves its first window; cores that the threads of one process keep busy,
#: since Python runs in one of them at a time. Measured on two cores with images of 64 to 256 points a side.
START_SECONDS, BUSY_CORES = 10.0, 1.4


def choose_processes(windows: int, seconds: float, cores: int | None = None) -> tuple[int | None, str]:
    """Return the worker processes that solve some windows sooner than threads do, None for threads; and why.

    `seconds` are those of a window on a core. Threads need windows * seconds / 1.4, processes start first.
    """
    cores = CPU_COUNT if cores is None else cores
    by_threads = windows * seconds / min(BUSY_CORES, cores)
    by_processes = START_SECONDS + windows * seconds / cores
    why = f"{by_threads:.3g} s expected in threads, {by_processes:.3g} s by {cores} processes, whose start takes time"
    return (cores, why) if by_processes < by_threads else (None, why)


def refuse_fork() -> None:
    """Raise WorkerError if this process was forked after torch was loaded: it has none of torch's threads and hangs."""
    if _forked.is_set():
        raise WorkerError(
            "this process was forked from one in which torch was loaded; torch's threads do not survive that, and it"
            f" would hang. {_SPAWN}"
        )


def refuse_fork_method() -> None:
    """Raise WorkerError if workers would be forked from this process, in which torch is loaded."""
    if "torch" in sys.modules and dask.config.get("distributed.worker.multiprocessing-method", "spawn") == "fork":
        raise WorkerError(
            f"worker processes would be forked, and torch, which is loaded, does not survive that. {_SPAWN}"
        )


def refuse_start_in_import() -> None:
    """Raise WorkerError if a worker that is starting would start workers itself: a script without main guard."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise WorkerError(
            "a worker process imports the script that started it, and the script starts workers as it is imported. Put"
            ' what it does below the line\n\nif __name__ == "__main__":'
        )


# --- picklable objects ---


def is_picklable(value: object) -> bool:
    """Return True if the value can be sent to a worker process."""
    import cloudpickle  # type: ignore[import-untyped]

    try:
        cloudpickle.dump(value, io.BytesIO())
    except Exception:  # noqa: BLE001  # a pickler calls code of any class, which may raise anything
        return False
    return True


def refuse_unpicklable(value: object) -> None:
    """Raise InputError if a value cannot be sent to a worker process, with the path of the part that cannot."""
    if is_picklable(value):
        return
    path, culprit = _unpicklable_part(value, "", _DEPTH_OF_SEARCH)
    raise InputError(
        code="not-picklable",
        found=f"{path.lstrip('.') or 'a value'} ({type(culprit).__module__}.{type(culprit).__qualname__}), which"
        " cannot be pickled",
        expected="models, operators and options that can be sent to a worker process",
        fix="make it in __setstate__ or at its first use instead of keeping it, or compute in threads"
        ' (dask.config.set(scheduler="threads"))',
    )


def _unpicklable_part(value: object, path: str, depth: int) -> tuple[str, object]:
    """Return path and value of the innermost part that cannot be pickled."""
    if depth:
        for name, part in _parts(value):
            if not is_picklable(part):
                return _unpicklable_part(part, f"{path}{name}", depth - 1)
    return path, value


def _parts(value: Any) -> Iterator[tuple[str, object]]:
    """Yield what a value holds, by the path from it."""
    if isinstance(value, functools.partial):
        yield from (("", part) for part in (value.func, *value.args))
        yield from ((f".{name}", part) for name, part in value.keywords.items())
    elif isinstance(value, Mapping):
        yield from ((f"[{name!r}]", part) for name, part in value.items())
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from ((f"[{index}]", part) for index, part in enumerate(value))
    else:
        bound = getattr(value, "__self__", None)
        if not isinstance(bound, (types.NoneType, types.ModuleType)):
            yield "", bound
        names = getattr(getattr(value, "__code__", None), "co_freevars", ())
        cells = getattr(value, "__closure__", None) or ()
        yield from ((f".{name}", cell.cell_contents) for name, cell in zip(names, cells, strict=True))
        slots = {name: getattr(value, name) for name in getattr(type(value), "__slots__", ()) if hasattr(value, name)}
        yield from ((f".{name}", part) for name, part in {**getattr(value, "__dict__", {}), **slots}.items())


# --- clients ---


@contextmanager
def connected(scheduler: str | None) -> Iterator[Any]:
    """Yield the client of a scheduler; without an address the active client, or None."""
    if scheduler is None:
        yield active_client()
        return
    distributed = require("distributed", "distributed", "workers")
    try:
        client = distributed.Client(scheduler, timeout="10s", set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(
            code="no-scheduler",
            found=f"no scheduler at {scheduler!r}: {error}",
            expected="the address of a running dask scheduler",
            fix="dask scheduler, which prints its address",
        ) from error
    with client, client.as_current():
        yield client


@contextmanager
def started(workers: int | None) -> Iterator[Any]:
    """Yield the client of worker processes that end with the run; None if none are asked for."""
    if workers is None:
        yield None
        return
    distributed = require("distributed", "distributed", "workers")
    refuse_fork_method()
    nannies = logging.getLogger("distributed.nanny")
    with ExitStack() as end:
        end.enter_context(dask.config.set(_CONFIG))
        cluster = distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",  # a free port: another cluster may have the usual one
            preload=[_PRELOAD],
            scheduler_kwargs={"allowed_failures": DEATHS - 1},  # a batch that kills its third worker is given up
        )
        client = end.enter_context(distributed.Client(end.enter_context(cluster), set_as_default=False))
        end.callback(nannies.setLevel, nannies.level)
        with client.as_current():
            try:
                yield client
            finally:
                nannies.setLevel(logging.ERROR)  # not that a worker with torch takes long to end
