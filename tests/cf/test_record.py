"""Attributes that are text in CF are text, whatever a file holds there."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from tests.cf.grid.records import STEREOGRAPHIC
from tests.faults.codes import raised
from tests.faults.images import rainy, warm
from tests.records import bare
from xvar.cf.axes import Axes
from xvar.cf.record import TEXT, Record, as_dataset, read_record, with_text
from xvar.errors import Faults, InputError


def test_what_is_no_text_becomes_text_or_goes() -> None:
    record = warm()
    record["sst"].attrs = {
        "units": b"degree_Celsius",
        "long_name": "Temp\u00e9rature".encode(),
        "standard_name": 7,
        "cell_methods": b"time: \xff",
        "comment": [1, 2],
    }
    record["y"].attrs = {"units": "m", "axis": None}
    record["x"].attrs = {"units": np.float32(1.0)}
    before = record.copy(deep=True)
    result = with_text(record)
    assert result["sst"].attrs == {
        "units": "degree_Celsius",
        "long_name": "Temp\u00e9rature",
        "cell_methods": "time: \ufffd",
        "comment": [1, 2],  # CF says of other attributes nothing
    }
    assert (result["y"].attrs, result["x"].attrs) == ({"units": "m"}, {"units": "1"})
    xr.testing.assert_equal(result, record)
    xr.testing.assert_identical(record, before)
    tidy = warm()
    assert with_text(tidy) is tidy


def test_an_array_needs_a_name_of_its_own() -> None:
    faults = Faults()
    array = warm()["sst"]
    dataset, name = as_dataset(array, faults)
    assert name == "sst"
    xr.testing.assert_identical(dataset["sst"], array)
    dataset, name = as_dataset(array.rename(None), faults)
    assert (name, list(dataset.data_vars)) == ("variable", ["variable"])
    assert as_dataset(warm(), faults)[1] is None


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        *(({key: b"x\xff", "units": "m"}, {key: "x\ufffd", "units": "m"}) for key in sorted(TEXT - {"units"})),
        *(({key: 7}, {}) for key in sorted(TEXT - {"units"})),
        ({"long_name": None, "comment": 7, "units": "m"}, {"comment": 7, "units": "m"}),
        ({"units": 1}, {"units": "1"}),
        ({"units": 0.01}, {"units": "0.01"}),
        ({"units": np.float32(0.5)}, {"units": "0.5"}),
        ({"units": b"m"}, {"units": "m"}),
        ({"units": None}, {}),
        ({"units": ["m"]}, {}),
        ({"comment": b"x"}, {"comment": b"x"}),
    ],
)
def test_attributes_are_text_where_cf_has_text(given, kept) -> None:
    data = xr.Dataset({"a": ("x", [0.0], dict(given)), "b": ("x", [0.0], {"units": "K"})})
    result = with_text(data)
    assert (result["a"].attrs, result["b"].attrs) == (kept, {"units": "K"})
    assert data["a"].attrs == given
    coordinate = xr.Dataset(coords={"x": ("x", [0.0], dict(given))})
    assert with_text(coordinate)["x"].attrs == kept


def test_the_name_of_an_array_is_its_own() -> None:
    faults = Faults()
    raised(lambda: as_dataset(warm()["y"].assign_attrs(long_name=7), faults), "name-of-coordinate", variable="y")
    array = warm()["sst"].assign_attrs(long_name=7)
    for given, expected in ((array, "sst"), (array.rename("other"), "other"), (array.rename(None), "variable")):
        dataset, name = as_dataset(given, Faults())
        assert (name, list(dataset.data_vars)) == (expected, [expected])
        assert "long_name" not in dataset[expected].attrs
    dataset, name = as_dataset(array.to_dataset(), Faults())
    assert name is None
    assert "long_name" not in dataset["sst"].attrs


GRID = "grid: from x and y as they are: not checked against a map projection, since there is no grid mapping"
LAND = "land: no land: no mask in the file"
DOWN = slice(None, None, -1)


def read(dataset: xr.Dataset, variable: str | None = None, **options: object) -> Record:
    faults = Faults()
    record = read_record(dataset, variable, faults, **options)
    faults.raise_if_any()
    assert record is not None
    return record


def test_all_that_is_known_of_a_tidy_record() -> None:
    dataset = warm()
    before = dataset.copy(deep=True)
    record = read(dataset)
    assert (record.name, record.axes) == ("sst", Axes("time", "y", "x"))
    assert (record.units, record.kind, record.interval) == ("degree_Celsius", "sea_temperature", 120.0)
    assert record.notes[1:] == (GRID, LAND)
    assert record.land is None
    assert record.cadence == 120.0
    assert record.times.seconds.tolist() == [0, 120, 240, 360]
    assert record.grid.spacing == (1e3, 1e3)
    assert record.nodata is None
    xr.testing.assert_identical(record.array, dataset["sst"])
    xr.testing.assert_identical(dataset, before)


def test_the_cadence_is_that_of_most_frames() -> None:
    times = np.datetime64("2020-01-01", "ns") + np.array([0, 60, 120, 300]) * np.timedelta64(1, "s")
    assert read(warm().assign_coords(time=times)).cadence == 60.0


@pytest.mark.parametrize(
    ("units", "stated", "own", "kind", "notes"),
    [
        ("K", None, "K", "temperature", []),
        (" K", None, "K", "temperature", ["units ' K' read as 'K'"]),
        ("deg C", None, "degree_Celsius", "temperature", ["units 'deg C' read as 'degree_Celsius'"]),
        ("deg C", "degree_Celsius", "degree_Celsius", "temperature", ["units 'degree_Celsius' as stated by units="]),
        (None, "K", "K", "temperature", ["units 'K' as stated by units="]),
        (None, "mm/hr.", "mm h-1", "rain", ["units 'mm h-1' as stated by units="]),
        (None, "m", "m", "other", ["units 'm' as stated by units="]),
    ],
)
def test_units_as_the_file_or_the_user_has_them(units, stated, own, kind, notes) -> None:
    dataset = warm().rename(sst="image")
    dataset["image"] = bare(dataset["image"]) + 200.0
    if units is not None:
        dataset["image"].attrs["units"] = units
    record = read(dataset, units=stated)
    assert (record.units, record.kind) == (own, kind)
    assert [note for note in record.notes[1:] if "units" in note] == notes
    assert dataset["image"].attrs.get("units") == units


def test_what_was_done_is_told_in_its_order() -> None:
    """Grid, land, what was renamed, times, units."""
    dataset = warm().isel(time=[1, 0, 2, 3], y=DOWN).assign_coords(step=7.0)
    values = dataset["sst"].values.copy()
    dataset["sst"] = (dataset["sst"].dims, values, {"units": "deg C"})
    record = read(dataset, "sst", sort=True)
    assert record.notes[1:] == (
        GRID,
        LAND,
        "coordinates that are also names of the output: 'step' as 'step_of_input'",
        record.times.note,
        "units 'deg C' read as 'degree_Celsius'",
    )
    assert record.times.note
    assert (np.diff(record.array["time"].values) > np.timedelta64(0, "s")).all()
    assert record.grid.ascending == (False, True)
    np.testing.assert_array_equal(record.array.values[1], values[0])
    np.testing.assert_array_equal(record.array.values[0], values[1])
    assert "step_of_input" in record.array.coords
    raised(lambda: read(dataset, "sst"), "time-unordered")


def test_what_the_user_states_reaches_the_record() -> None:
    dataset = warm()
    assert read(dataset, dx=500.0, dy=250.0).grid.spacing == (250.0, 500.0)
    mask = xr.DataArray(np.eye(24, dtype=bool), dims=("y", "x"))
    masked = read(dataset.assign(sst=dataset["sst"].where(~mask)), land=mask)
    np.testing.assert_array_equal(masked.land, mask)
    assert any("the mask that was given" in note for note in masked.notes)
    named = dataset.rename(sst="u")
    raised(lambda: read(named), "name-taken", variable="u")
    assert read(named, own_model=True).name == "u"
    raised(lambda: read(dataset, "gone"), "unknown-variable", variable="gone")


def test_the_grid_mapping_is_that_of_the_dataset() -> None:
    dataset = warm().assign(crs=((), 0, STEREOGRAPHIC))
    dataset["sst"].attrs["grid_mapping"] = "crs"
    assert read(dataset, "sst").notes[1] == "grid: from x and y by the map factor of 'crs' (0.933 to 0.933)"


def test_an_amount_of_rain_has_the_interval_that_the_file_states() -> None:
    times = np.datetime64("2020-01-01", "ns") + np.arange(4) * np.timedelta64(300, "s")
    dataset = rainy().assign_coords(time=times)
    dataset["rain"] = (dataset["rain"] / 12).assign_attrs(units="mm", cell_methods="time: sum (interval: 10 minutes)")
    assert read(dataset).interval == 600.0
    bounds = np.stack([times - np.timedelta64(900, "s"), times], axis=1)
    dataset["rain"].attrs.pop("cell_methods")
    dataset = dataset.assign(time_bounds=(("time", "side"), bounds))
    dataset["time"].attrs["bounds"] = "time_bounds"
    assert read(dataset, "rain").interval == 900.0


def test_codes_of_a_radar_are_known_before_values_are_looked_at() -> None:
    dataset = rainy().rename(rain="DBZH")
    values = dataset["DBZH"].values.copy()
    values[:, :2, :2], values[:, 4:6, 4:6] = 95.5, -32.0
    dataset["DBZH"] = (dataset["DBZH"].dims, values, {"units": "dBZ"})
    dataset["DBZH"].encoding = {"dtype": np.dtype("u1"), "scale_factor": 0.5, "add_offset": -32.0}
    assert read(dataset).nodata == 95.5
    dataset["DBZH"].attrs |= {"nodata": 255.0, "undetect": 0.0}
    told = read(dataset)
    assert told.nodata is None
    assert told.notes[3:5] == ("nodata of 95.5 taken as missing", "undetect of -32 is -32: looked at, and nothing seen")
    assert int(told.array.isnull().sum()) == 16


def test_lazy_values_are_not_looked_at() -> None:
    dataset = warm()
    dataset["sst"][0, 0, 0] = np.inf
    record = read(dataset.chunk(time=1))
    assert record.array.chunks is not None
    assert len(record.notes) == 3


@pytest.mark.parametrize("source", [None, "/data/warm.nc"])
@pytest.mark.parametrize("error", [OSError, RuntimeError, ValueError, IndexError, KeyError, TypeError])
def test_values_that_cannot_be_read_are_told_with_their_file(error, source, monkeypatch) -> None:
    dataset = warm()
    if source is not None:
        dataset.encoding["source"] = source

    def broken(self, **options):
        raise error("half a chunk")

    monkeypatch.setattr(xr.DataArray, "load", broken)
    with pytest.raises(InputError) as caught:
        read(dataset)
    (fault,) = caught.value.faults
    assert (fault.code, fault.variable) == ("unreadable-values", "sst")
    for words in (source or "the data", error.__name__, "half a chunk"):
        assert words in fault.found


def test_every_fault_of_a_record_is_told_at_once() -> None:
    dataset = warm().drop_vars(["y", "x"]).isel(time=[0, 0, 1, 2])
    dataset["sst"].attrs["units"] = "bananas"
    with pytest.raises(InputError) as caught:
        read(dataset)
    units, times, grid = (fault.found for fault in caught.value.faults)
    assert units == "units 'bananas', which UDUNITS cannot read"
    assert "2020-01-01" in times
    assert grid == "no coordinate on 'y'; no coordinate on 'x'"


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        (lambda ds: ds.drop_vars(["y", "x"]), "no coordinate on 'y'; no coordinate on 'x'"),
        (lambda ds: ds.drop_vars("time"), "no time coordinate on dimension 'time'"),
        (lambda ds: ds.assign(sst=bare(ds["sst"])), "no units attribute"),
        (lambda ds: ds.rename(sst="cost"), "a variable with the name 'cost', which is one of the output's own"),
        (lambda ds: ds.isel(x=[0, 1]), "a grid of 2 columns along 'x'"),
        (lambda ds: ds.drop_vars("x").rename(x="b"), "no numeric variable with time, y and x dimensions"),
    ],
)
def test_one_fault_is_told_alone(fault, found) -> None:
    faults = Faults()
    read_record(fault(warm()), None, faults)
    assert len(faults) == 1
    assert faults.first.found.startswith(found)
