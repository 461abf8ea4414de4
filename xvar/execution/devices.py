"""The device that windows are solved on: a worker's own where a machine has several, refused where there is none."""

from __future__ import annotations

import functools
import re
import sys
from typing import Any

from xvar.errors import Fault, InputError


def take_device(device: str | None) -> None:
    """Go to the device that a call names.

    Where that is "cuda" without a number, each worker of a machine takes one of its devices. A process that is no
    worker, or a worker to which dask-cuda shows its own devices, stays with the one that it has.

    Raises
    ------
    InputError
        Where this machine has no such device.
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
            Fault(
                f"device={str(device)!r}, which torch does not have here: {' '.join(str(error).split())}",
                "a device of the machine that solves the windows",
                "leave it out: the processor is used; or a torch and a driver for that device",
            )
        ) from error


def _worker() -> Any:
    """The worker of dask.distributed that runs this task, None where there is none."""
    if "distributed" not in sys.modules:
        return None
    import distributed

    try:
        return distributed.get_worker()
    except ValueError:
        return None


def _place(worker: Any) -> int:
    """The number of a worker among those of its machine: that at the end of its name, such as 2, or gpu-2."""
    number = re.fullmatch(r"(?:.*-)?(\d+)", str(worker.name))
    return int(number[1]) if number else _place_by_address(str(worker.address))


@functools.cache  # it stays where it is, also when another is started anew
def _place_by_address(address: str) -> int:
    """The same for one without a name: that of its address among those of the machine."""
    import distributed

    known = distributed.get_client().scheduler_info(n_workers=-1)["workers"]
    here = [other for other, about in known.items() if about["host"] == known[address]["host"]]
    return sorted(here).index(address)
