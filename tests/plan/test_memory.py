"""The memory of a window: large grids in tiles, the same in whatever way the call is made, and refused if they must."""

from __future__ import annotations

from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

import xvar
from benchmarks.twins import rain_of
from tests.faults.codes import raised
from tests.records import drifting
from tests.runs.records import same
from xvar.cf.record import FEWEST_FIELDS
from xvar.cli import application
from xvar.plan.configuration import ATTRIBUTE, Configuration
from xvar.plan.memory import SIDES, WORKING_FIELDS, field_bytes, working_fields

pytestmark = pytest.mark.usefixtures("one_thread")

SIDE, TILE = 240, SIDES[-1]
MEMORY = f"{int(field_bytes(FEWEST_FIELDS, SIDE**2) + field_bytes(WORKING_FIELDS['image_motion'], TILE**2)) + 1}B"


@pytest.fixture(scope="module")
def radar() -> Any:
    """Rain that a rotation moves."""
    return rain_of("rotation, 0.05 a frame", 0).isel(y=slice(0, SIDE), x=slice(0, SIDE))


@pytest.fixture(scope="module")
def tiled(radar: Any) -> Any:
    return radar.var4d.assimilate(memory=MEMORY)


def test_a_window_that_needs_more_than_it_may_take_is_minimised_in_tiles(radar: Any, tiled: Any) -> None:
    whole = radar.var4d.assimilate()
    assert [Configuration.from_json(one.attrs[ATTRIBUTE]).tile for one in (whole, tiled)] == [None, TILE]
    assert f"tiles of at most {TILE} by {TILE} points" in tiled.attrs[ATTRIBUTE]
    assert (tiled["status"] == whole["status"]).all()
    fallen = whole["cost"][:, 0] - whole["cost"][:, 1]
    assert (np.abs(tiled["cost"][:, 1] - whole["cost"][:, 1]) < 0.1 * fallen).all()
    for name in ("u_steady", "v_steady", "image_scale", "motion_skill"):  # before the finest grid
        assert tiled[name].equals(whole[name])
    ahead = [one.var4d.forecast("30min")["rain"].fillna(0) for one in (whole, tiled)]
    moved = np.sqrt(np.square(ahead[0] - whole["rain_observed"].fillna(0)).mean())
    assert np.sqrt(np.square(ahead[1] - ahead[0]).mean()) < 0.1 * moved


def test_lazy_data_are_those_in_memory(radar: Any, tiled: Any) -> None:
    lazy = radar.chunk(time=2).var4d.assimilate(memory=MEMORY)
    with dask.config.set(scheduler="synchronous"):
        assert same(tiled, lazy.compute()) == []


def test_a_window_alone_is_that_of_a_batch(radar: Any) -> None:
    both = radar.var4d.assimilate(memory=MEMORY, window=3, stride=1, batch=2)
    for window in range(2):
        alone = radar.isel(time=slice(window, window + 3)).var4d.assimilate(memory=MEMORY)
        assert same(alone, both.isel(window=[window])) == []


def test_a_run_and_a_nowcast_are_in_tiles_too(radar: Any, tiled: Any, tmp_path: Any) -> None:
    xvar.run(radar, tmp_path / "out.nc", memory=MEMORY)
    with xr.open_dataset(tmp_path / "out.nc") as stored:
        assert same(tiled, stored) == []
    nowcast = xvar.nowcast(radar, "10min", memory=MEMORY)
    forecast = tiled.var4d.forecast("10min")
    np.testing.assert_array_equal(nowcast["rain"].squeeze(), forecast["rain"].squeeze())


def test_a_run_goes_on_where_the_memory_is_another_but_the_tiles_are_not(radar: Any, tmp_path: Any) -> None:
    xvar.run(radar, tmp_path / "out.zarr", memory=MEMORY)
    xvar.run(radar, tmp_path / "out.zarr", memory=f"{int(MEMORY[:-1]) + 1000}B")
    raised(lambda: xvar.run(radar, tmp_path / "out.zarr"), "store-of-another-run")


def test_the_shell_has_the_option(radar: Any, tiled: Any, tmp_path: Any) -> None:
    radar.to_netcdf(tmp_path / "in.nc")
    words = ["assimilate", tmp_path / "in.nc", "-o", tmp_path / "out.nc", "--memory", MEMORY]
    result = CliRunner().invoke(application, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    with xr.open_dataset(tmp_path / "out.nc") as stored:
        assert Configuration.from_json(stored.attrs[ATTRIBUTE]).tile == TILE


def test_too_little_memory_is_refused_with_what_is_needed(radar: Any) -> None:
    raised(lambda: radar.var4d.assimilate(memory="1MB"), "memory-too-small", variable="memory")
    raised(lambda: drifting().var4d.assimilate(memory="1MB"), "memory-too-small", variable="memory")
    for wrong in ("much", 8, "-1GB"):
        raised(lambda wrong=wrong: radar.var4d.assimilate(memory=wrong), "option-value", variable="memory")


def test_a_small_memory_minimises_fewer_windows_together() -> None:
    """Which changes no bit."""
    record = drifting(frames=9)
    need = int(field_bytes(working_fields("currents", 4), 48 * 48)) + 1
    assert same(record.var4d.assimilate(), record.var4d.assimilate(memory=f"{need}B")) == []


def test_more_frames_and_double_precision_need_more(radar: Any) -> None:
    whole = field_bytes(WORKING_FIELDS["image_motion"], SIDE**2)
    assert working_fields("image_motion", 8) > working_fields("image_motion", 4) == WORKING_FIELDS["image_motion"]
    memory = f"{int(whole) + 1}B"
    lazy = radar.chunk(time=4).var4d.assimilate(memory=memory)
    assert Configuration.from_json(lazy.attrs[ATTRIBUTE]).tile is None
    raised(lambda: radar.var4d.assimilate(memory=memory, dtype="float64"), "memory-too-small", variable="memory")
