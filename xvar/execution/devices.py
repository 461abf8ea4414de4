"""Device of torch on which windows are solved: each worker of a machine takes its own."""

from __future__ import annotations

import functools
import re
import sys
from typing import Any

from xvar.errors import InputError


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
