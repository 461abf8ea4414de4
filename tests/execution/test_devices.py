"""Which device a worker takes, with a machine of several that is made up."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

import xvar
from tests.faults.codes import codes
from tests.runs.records import OPTIONS, shower
from xvar.execution import workers


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A machine with four devices, and workers on it: `machine(worker)` gives the device that it takes."""

    def take(worker: Any, device: str = "cuda", count: int = 4) -> int | None:
        taken: list[int] = []
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "set_device", taken.append)
        monkeypatch.setattr(torch, "empty", lambda *_, **__: None)
        monkeypatch.setattr(workers, "_worker", lambda: worker)
        workers.take_device(device)
        return taken[-1] if taken else None

    return take


def worker(name: object, address: str = "tcp://10.0.0.1:40001") -> SimpleNamespace:
    return SimpleNamespace(name=name, address=address)


def test_each_worker_takes_its_own(machine: Any) -> None:
    # As a LocalCluster, `dask worker --name gpu --nworkers 4` and dask-jobqueue name them.
    for names in (range(4), [f"gpu-{i}" for i in range(4)], [f"SLURMCluster-7-{i}" for i in range(4)]):
        assert [machine(worker(name)) for name in names] == [0, 1, 2, 3]
    assert [machine(worker(name)) for name in range(6)] == [0, 1, 2, 3, 0, 1]


def test_workers_without_names_go_by_their_addresses(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed")
    here = [f"tcp://10.0.0.1:{port}" for port in (40001, 40002, 41000, 45003)]
    there = [f"tcp://10.0.0.2:{port}" for port in (40000, 40009)]
    known = {address: {"host": address[6:14]} for address in [*there, *here]}
    asked = []

    def info(n_workers: int) -> dict[str, Any]:
        asked.append(n_workers)
        return {"workers": known}

    monkeypatch.setattr(distributed, "get_client", lambda: SimpleNamespace(scheduler_info=info))
    workers._place_by_address.cache_clear()
    for _ in range(2):
        assert [machine(worker(address, address)) for address in here] == [0, 1, 2, 3]
        assert [machine(worker(address, address)) for address in there] == [0, 1]
    assert asked == [-1] * 6  # once each
    workers._place_by_address.cache_clear()


def test_a_choice_that_is_made_already_stays(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine(worker(2), count=1) is None
    assert machine(worker(2), device="cuda:1") is None
    assert machine(worker(2), device="cpu") is None
    assert machine(None) is None  # no worker: torch.cuda.set_device of whoever calls
    monkeypatch.setitem(sys.modules, "dask_cuda", ModuleType("dask_cuda"))
    assert machine(worker(2)) is None  # each of its workers has its own as the first


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
@pytest.mark.parametrize("errors", ["raise", "continue"])
def test_a_device_that_is_absent_is_no_failure_of_windows(errors: str, tmp_path: Any) -> None:
    lazy = shower(5).chunk(time=1).var4d.assimilate(**OPTIONS, device="cuda", errors=errors)  # workers may have it
    for call in (
        lambda: shower(5).var4d.assimilate(**OPTIONS, device="cuda", errors=errors),
        lambda: lazy.compute(scheduler="synchronous"),
        lambda: xvar.run(shower(5), tmp_path / "a.zarr", **OPTIONS, device="cuda", errors=errors),
    ):
        with pytest.raises(xvar.InputError) as info:
            call()
        assert codes(info.value) == ["no-such-device"]
    assert xvar.runs.status(tmp_path / "a.zarr").left == 1
