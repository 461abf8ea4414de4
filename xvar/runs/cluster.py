"""Workers of a run: those of a running cluster, or processes of its own."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import dask.config

from xvar.errors import InputError, require
from xvar.execution import workers as processes

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


@contextmanager
def connected(scheduler: str | None) -> Iterator[Any]:
    """Yield the client of a scheduler; without an address the active client, or None."""
    if scheduler is None:
        yield processes.active_client()
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
    processes.refuse_fork_method()
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
