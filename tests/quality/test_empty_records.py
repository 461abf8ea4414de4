"""Records and windows without values: the same outcome in memory, as lazy data and as a run."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xvar
from tests.faults.codes import codes
from tests.runs.records import OPTIONS, same, shower
from xvar import InputError

pytestmark = pytest.mark.filterwarnings("ignore::xvar.InputWarning")


def changed(change: Callable[[np.ndarray], np.ndarray], frames: slice = slice(None)) -> xr.Dataset:
    record = shower()
    record["rain"][frames] = change(record["rain"].values[frames])
    return record


def empty(values: np.ndarray) -> np.ndarray:
    return np.full_like(values, np.nan)


def huge(values: np.ndarray) -> np.ndarray:
    return values * np.float32(1e20)


def refused(call: Callable[[], Any]) -> list[str]:
    with pytest.raises(InputError) as info:
        call()
    return codes(info.value)


@pytest.mark.parametrize("change", [empty, huge])
@pytest.mark.parametrize("chunks", [None, {"time": 3}])
@pytest.mark.parametrize("name", ["a.zarr", "a.nc"])
def test_a_run_without_any_value_is_refused(
    change: Any, chunks: dict[str, int] | None, name: str, tmp_path: pathlib.Path
) -> None:
    record = changed(change) if chunks is None else changed(change).chunk(chunks)
    for _ in range(2):  # resuming is refused as well
        assert refused(lambda: xvar.run(record, tmp_path / name, **OPTIONS)) == ["no-values"]
    assert name != "a.nc" or not (tmp_path / name).exists()


@pytest.mark.parametrize("change", [empty, huge])
def test_a_record_without_any_value_is_refused_before_its_forecast(change: Any) -> None:
    record = changed(change)
    assert refused(lambda: record.var4d.assimilate(**OPTIONS)) == ["no-values"]
    analysis = record.chunk(time=3).var4d.assimilate(**OPTIONS, errors="continue").compute()
    assert (analysis["status"] == 3).all()
    assert (analysis["number_of_observations"] == 0).all()
    assert refused(lambda: analysis.var4d.forecast("10min")) == ["no-values"]


@pytest.mark.parametrize("change", [empty, huge])
@pytest.mark.parametrize("batch", [None, 1, 4])
def test_lazy_data_without_any_value_are_refused_when_they_are_computed(change: Any, batch: int | None) -> None:
    lazy = changed(change).chunk(time=3).var4d.assimilate(**OPTIONS, batch=batch)
    assert refused(lazy.compute) == ["no-values"]


def test_a_window_of_lazy_data_needs_its_own_frames_alone() -> None:
    record, read = changed(empty, slice(0, 7)).chunk(time=1), set[int]()

    def noted(block: np.ndarray, block_info: Any = None) -> np.ndarray:
        read.add(block_info[0]["chunk-location"][0])
        return block

    noting = record.assign(rain=record["rain"].copy(data=record["rain"].data.map_blocks(noted, dtype="f4")))
    lazy = noting.var4d.assimilate(**OPTIONS, batch=1)
    read.clear()
    for windows in (slice(0, 1), slice(0, 2)):
        found = lazy.isel(window=windows).compute()
        assert (found["status"] == 3).all()
        assert read == set(range(3 * windows.stop + 1))
    assert same(lazy.compute(), changed(empty, slice(0, 7)).var4d.assimilate(**OPTIONS)) == []


@pytest.mark.parametrize("lazy", [False, True])
def test_a_window_whose_values_are_all_rejected_is_named(lazy: bool) -> None:
    record = changed(huge, slice(3, 7))
    data = record.chunk(time=13) if lazy else record
    with pytest.raises(InputError) as info:
        data.var4d.assimilate(**OPTIONS).compute()
    assert codes(info.value) == ["no-values"]
    assert str(info.value.faults[0].index).startswith("window 1 ")
    analysis = data.var4d.assimilate(**OPTIONS, errors="continue").compute()
    assert analysis["status"].values[1] == 3
    assert (analysis["number_of_observations"].values > 0).tolist() == [True, False, True, True]


def test_a_window_without_any_value_is_no_fault() -> None:
    record = changed(empty, slice(3, 7))
    memory, lazy = (data.var4d.assimilate(**OPTIONS).compute() for data in (record, record.chunk(time=3)))
    assert same(memory, lazy) == []
    assert memory["status"].values[1] == 3
    forecast = lazy.var4d.forecast("10min")["rain"]
    assert np.isnan(forecast[1]).all()  # and not rain of zero
    assert np.isfinite(forecast[[0, 2, 3]]).all()
