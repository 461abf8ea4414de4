"""One answer however a question is put: lazy or in memory, packed or not, defaults stated or left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

import xvar
from tests.bits import EMPTY, differing
from tests.cf.outputs import FILES
from tests.records import drifting
from tests.test_real_files import SEVERAL, opened
from xvar.plan.options import OPTIONS

pytestmark = [
    pytest.mark.filterwarnings("ignore:Duplicate dimension names present:UserWarning"),
    pytest.mark.filterwarnings("ignore::xvar.errors.AnalysisWarning"),
    pytest.mark.filterwarnings("ignore::xvar.errors.InputWarning"),
]


def record(shared_data: Any, file: str) -> xr.Dataset:
    """The first frames of a corner of a file, in memory: one variable, with its masks and grid mapping."""
    with opened(shared_data / file, frames=4, side=32) as given:
        name = FILES[file][0]
        kept = [n for n in given.data_vars if n == "mask" or "grid_mapping_name" in given[n].attrs]
        chosen = given[[name, *kept]] if file in SEVERAL else given
        return chosen.rename({"u": "image"} if name == "u" else {}).load()


def chunked(given: xr.Dataset) -> xr.Dataset:
    """The same in chunks that cut time, y and x, and fit no window."""
    name = max(given.data_vars, key=lambda key: given[key].ndim)
    time, y, x = (given[name].dims[index] for index in (0, -2, -1))
    return given.chunk({time: 3, y: 20, x: 13})


@pytest.mark.parametrize("file", FILES)
def test_a_lazy_record_has_the_bits_of_one_in_memory(shared_data, file) -> None:
    given = record(shared_data, file)
    lazy = chunked(given).var4d.assimilate(window=3)
    assert lazy.chunks
    analysis = given.var4d.assimilate(window=3)
    assert differing(analysis, lazy.compute()) == []
    lead = np.timedelta64(int((analysis["time"][0, 1] - analysis["time"][0, 0]) / np.timedelta64(1, "s")), "s")
    assert differing(analysis.var4d.forecast(lead), lazy.var4d.forecast(lead).compute()) == []


@pytest.mark.parametrize("file", FILES)
def test_stated_defaults_and_empty_values_change_no_bit(shared_data, file) -> None:
    given = record(shared_data, file)
    stated = {name: option.default for name, option in OPTIONS.items()} | EMPTY
    # None of the windows and of what is derived from the record has a documented value; these are what it derives.
    frames = {"window": min(4, max(given.sizes[dim] for dim in given.dims if "time" in str(dim))), "dtype": "float32"}
    assert differing(given.var4d.assimilate(), given.var4d.assimilate(**{**stated, **frames})) == []


@pytest.mark.parametrize("file", [name for name in FILES if name not in SEVERAL])
def test_a_window_alone_has_the_bits_of_one_in_a_batch(shared_data, file) -> None:
    with opened(shared_data / file, frames=6, side=32) as given:
        whole = given.load()
    time = whole[FILES[file][0]].dims[0]
    together = whole.var4d.assimilate(window=3, stride=1)
    alone = whole.isel({time: slice(1, 4)}).var4d.assimilate(window=3)
    assert differing(together.isel(window=[1]), alone) == []


def packed(values: xr.DataArray) -> xr.DataArray:
    """Packed integers with a fill value, as a file holds them, decoded by xarray."""
    span = float(values.max() - values.min()) or 1.0
    encoding = {"dtype": "int16", "scale_factor": span / 3e4, "add_offset": float(values.min()), "_FillValue": -32768}
    variable = values.variable.copy()
    variable.attrs, variable.encoding = {}, encoding
    coded = xr.conventions.encode_cf_variable(variable, name=values.name)
    return values.copy(data=xr.conventions.decode_cf_variable(str(values.name), coded).values)


def test_packed_and_masked_values_are_the_same_lazily() -> None:
    rain = xvar.datasets.sample().isel(y=slice(40, 88), x=slice(40, 88))
    rain["rain"] = packed(rain["rain"].astype("float32").where(rain["rain"] != 19))
    assert bool(rain["rain"].isnull().any())
    assert differing(rain.var4d.assimilate(), chunked(rain).var4d.assimilate().compute()) == []


@pytest.mark.parametrize("constraint", ["strong", "weak"])
def test_pixels_that_are_never_valid_are_not_observed_and_nothing_more(constraint) -> None:
    y, x = np.mgrid[:40, :48]
    frames = np.stack([np.sin(0.3 * (x - shift)) + np.cos(0.25 * y) for shift in range(5)]) + 290
    frames[:, 5:12, 8:15] = np.nan
    coordinates = {
        "time": np.datetime64("2024-01-01", "ns") + np.arange(5) * np.timedelta64(6, "h"),
        "y": ("y", 2000.0 * np.arange(40), {"units": "m", "standard_name": "projection_y_coordinate"}),
        "x": ("x", 2000.0 * np.arange(48), {"units": "m", "standard_name": "projection_x_coordinate"}),
    }
    attrs = {"units": "K", "standard_name": "sea_surface_temperature"}
    sea = xr.Dataset({"sst": (("time", "y", "x"), frames.astype("f4"), attrs)}, coordinates)
    analysis = sea.var4d.assimilate(constraint=constraint)
    assert bool(np.isfinite(analysis["u"]).all())
    assert differing(analysis, chunked(sea).var4d.assimilate(constraint=constraint).compute()) == []
    islands = sea.var4d.assimilate(constraint=constraint, land="never_valid")
    assert bool(np.isnan(islands["u"].isel(y=slice(5, 12), x=slice(8, 15))).all())
    assert differing(islands, chunked(sea).var4d.assimilate(constraint=constraint, land="never_valid").compute()) == []


@pytest.mark.parametrize("units", ["K", "degree_Celsius", "mm h-1"])
@pytest.mark.parametrize(("dtype", "method"), [("float32", None), ("float64", None), ("float32", "advection")])
def test_an_analysis_shares_no_memory_with_the_record_or_among_its_variables(
    units: str, dtype: str, method: str | None
) -> None:
    record = drifting()
    if units == "mm h-1":
        record = record.rename(sst="rain")
    name = next(iter(record.data_vars))
    values = record[name].values + (273.15 if units == "K" else 0)
    record[name] = record[name].copy(data=values.astype(dtype)).assign_attrs(units=units)
    before = record.copy(deep=True)
    analysis = record.var4d.assimilate(window=4, dtype=dtype, method=method)
    names = [one for one in analysis.data_vars if analysis[one].dtype.kind == "f"]
    kept = analysis.copy(deep=True)
    for changed in names:
        analysis[changed].values[...] = -7
        assert record.identical(before), changed
        for other in names[names.index(changed) + 1 :]:
            np.testing.assert_array_equal(analysis[other], kept[other], err_msg=f"{other} after {changed}")
