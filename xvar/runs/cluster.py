"""The workers of a run: those of a cluster that is there, or processes of its own."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import dask.config

from xvar.errors import Fault, InputError
from xvar.execution import workers as processes

DEATHS = 3  # of workers, before a batch is taken for what killed them
# Ctrl-C reaches all processes of a terminal. It is for the run, which ends its workers itself, in peace.
DEAF = """
import logging, signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
logging.getLogger("distributed.worker.state_machine").setLevel(logging.ERROR)
"""


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise InputError(
            Fault("workers without the package distributed", "distributed", "pip install 'xvar[distributed]'")
        ) from error
    return distributed


@contextmanager
def connected(scheduler: str | None) -> Iterator[Any]:
    """The client of a scheduler; without an address the one that is active, None where there is none."""
    if scheduler is None:
        yield processes.active_client()
        return
    distributed = _distributed()
    try:
        client = distributed.Client(scheduler, timeout="10s", set_as_default=False)
    except (OSError, ValueError) as error:
        problem = Fault(
            f"no scheduler at {scheduler!r}: {error}", "the address of dask scheduler", "check that it runs"
        )
        raise InputError(problem) from error
    with client, client.as_current():
        yield client


@contextmanager
def started(workers: int | None) -> Iterator[Any]:
    """The client of workers of our own; None where none are asked for."""
    if workers is None:
        yield None
        return
    distributed = _distributed()
    processes.refuse_fork_method()
    cluster = distributed.LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        dashboard_address=":0",  # whatever port is free: another cluster may have the usual one
        preload=[DEAF],
        # A batch that kills its third worker is given up.
        scheduler_kwargs={"allowed_failures": DEATHS - 1},
    )
    # A worker that takes longer than this to come back is dropped for good, and with the last one the run would hang.
    patience = dask.config.set({"distributed.deploy.lost-worker-timeout": "1h"})
    nannies = logging.getLogger("distributed.nanny")
    with ExitStack() as end, patience, cluster, distributed.Client(cluster, set_as_default=False) as client:
        end.callback(nannies.setLevel, nannies.level)
        with client.as_current():
            try:
                yield client
            finally:
                nannies.setLevel(logging.ERROR)  # that a worker with torch takes its time to end is no news
