"""Every file that is written passes the strict checker and reads back as it was."""

from __future__ import annotations

import datetime
import importlib.metadata
import pathlib
import warnings

import cftime
import netCDF4
import numpy as np
import pytest
import xarray as xr

from tests.cf.outputs import FILES, analysis, forecast, scores
from tests.cf.strict import strict_cf
from xvar.cf.conventions import for_writing, identity, to_cf

KINDS = {"analysis": analysis, "forecast": forecast, "scores": scores}


def opened(path: pathlib.Path, **options: object) -> xr.Dataset:
    with warnings.catch_warnings():
        # ocean-arctic20 has a variable with one dimension twice.
        warnings.filterwarnings("ignore", "Duplicate dimension names")
        return xr.open_dataset(path, **options)


def assert_same(written: xr.Dataset, read: xr.Dataset) -> None:
    xr.testing.assert_identical(written, read)
    for name, variable in written.variables.items():
        assert read[name].dims == variable.dims
        if variable.dtype.kind not in "mM":
            assert read[name].dtype == variable.dtype, name


@pytest.mark.parametrize("what", KINDS)
@pytest.mark.parametrize("file", FILES)
def test_every_real_file_gives_strict_cf(file: str, what: str, shared_data: pathlib.Path, tmp_path: pathlib.Path):
    name, _ = FILES[file]
    source = opened(shared_data / file)
    result = to_cf(KINDS[what](source, name), source, action=f'assimilate("{name}")', configuration="window=3")

    result.to_netcdf(tmp_path / "output.nc")
    code, complaints = strict_cf(tmp_path / "output.nc")
    assert code == 0, complaints
    with xr.open_dataset(tmp_path / "output.nc", decode_timedelta=True) as read:
        assert_same(result, read)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Consolidated metadata")
        result.to_zarr(tmp_path / "output.zarr")
        with xr.open_zarr(tmp_path / "output.zarr", decode_timedelta=True) as read:
            assert_same(result, read)
            for_writing(read).to_netcdf(tmp_path / "again.nc")
    code, complaints = strict_cf(tmp_path / "again.nc")
    assert code == 0, complaints


RECORD = xr.Dataset(
    {"sst": (("time", "lat", "lon"), np.arange(60.0, dtype="f4").reshape(3, 4, 5), {"units": "degree Celsius"})},
    coords={
        "time": np.array(["2000-01-01", "2000-01-02", "2000-01-03"], "M8[ns]"),
        "lat": ("lat", np.arange(4.0), {"units": "degrees North"}),
        "lon": ("lon", np.arange(5.0), {"units": "degrees East"}),
    },
)


def strict(dataset: xr.Dataset, path: pathlib.Path) -> xr.Dataset:
    """WriteRecord, checked and read."""
    dataset.to_netcdf(path / "strict.nc")
    code, complaints = strict_cf(path / "strict.nc")
    assert code == 0, complaints
    with xr.open_dataset(path / "strict.nc", decode_timedelta=True) as read:
        return read.load()


def finished(source: xr.Dataset = RECORD, name: str = "sst", **changes: object) -> xr.Dataset:
    return to_cf(analysis(source, name).assign(**changes), source, action="assimilate")


def test_the_checker_refuses_what_is_not_finished(tmp_path):
    """The gate is no gate if everything passes it."""
    analysis(RECORD, "sst").to_netcdf(tmp_path / "raw.nc")
    assert strict_cf(tmp_path / "raw.nc")[0] != 0


def test_misspelt_units_are_mended_and_noted(tmp_path):
    """Fault 37."""
    read = strict(finished(), tmp_path)
    assert read.sst.attrs["units"] == "degree_Celsius"
    assert (read.lat.attrs["units"], read.lat.attrs["standard_name"]) == ("degrees_north", "latitude")
    assert "units of sst: 'degree Celsius' written as 'degree_Celsius'" in read.attrs["history"]


@pytest.mark.parametrize("calendar", ["360_day", "noleap", "standard", "julian"])
def test_other_calendars_are_kept(calendar, tmp_path):
    """Fault 7."""
    dates = np.array([cftime.datetime(2000, 2, day, 6, 0, 7, calendar=calendar) for day in (1, 2, 3)])
    source = RECORD.assign_coords(time=("time", dates))
    result = finished(source)
    result.to_netcdf(tmp_path / "strict.nc")
    code, complaints = strict_cf(tmp_path / "strict.nc")
    assert code == 0, complaints
    with netCDF4.Dataset(tmp_path / "strict.nc") as file:
        assert file["time"].calendar == calendar
        assert file["time"].dtype == np.int64
    coders = getattr(xr, "coders", None)  # which xarray has since 2025
    dates = {"use_cftime": True} if coders is None else {"decode_times": coders.CFDatetimeCoder(use_cftime=True)}
    with xr.open_dataset(tmp_path / "strict.nc", **dates) as read:
        np.testing.assert_array_equal(read.time.values, result.time.values)


@pytest.mark.parametrize(("unit", "name"), [("s", "seconds"), ("ms", "milliseconds"), ("ns", "nanoseconds")])
def test_times_are_exact(unit, name, tmp_path):
    times = np.array(["2000-01-01", "2000-01-02", "2000-01-03"], "M8[ns]") + np.array([1, 2, 3], f"m8[{unit}]")
    result = finished(RECORD.assign_coords(time=times))
    assert result.time.encoding["units"].startswith(name)
    read = strict(result, tmp_path)
    np.testing.assert_array_equal(read.time.values, result.time.values)


def test_missing_times(tmp_path):
    result = analysis(RECORD, "sst")
    times = result.time.values.copy()
    times[1, -1] = np.datetime64("NaT", "ns")
    result = to_cf(
        result.assign_coords(time=(("window", "step"), times, result.time.attrs)), RECORD, action="assimilate"
    )
    np.testing.assert_array_equal(strict(result, tmp_path).time.values, times)


def test_packing_is_not_inherited(tmp_path):
    """Fault 39."""
    packed = {"dtype": "i2", "scale_factor": 0.01, "_FillValue": -32768}
    RECORD.to_netcdf(tmp_path / "packed.nc", encoding={"sst": packed})
    with xr.open_dataset(tmp_path / "packed.nc") as source:
        source["sst"].attrs["valid_range"] = np.array([-5, 5], "i2")
        output = analysis(source, "sst")
        output["sst"].encoding = dict(source["sst"].encoding)
        output["sst"] += 3801.0
        output["sst"].attrs = source["sst"].attrs
        result = to_cf(output, source, action="assimilate")
        read = strict(result, tmp_path)
        np.testing.assert_array_equal(read.sst.values, result.sst.values)
        assert read.sst.dtype == np.float32
    with netCDF4.Dataset(tmp_path / "strict.nc") as file:
        assert set(file["sst"].ncattrs()) == {"_FillValue", "units", "units_metadata", "long_name", "coordinates"}
        assert "_FillValue" not in file["status"].ncattrs()
        for name in ("lat", "lon", "time", "forecast_reference_time", "stage"):
            assert "_FillValue" not in file[name].ncattrs(), name


def test_status_of_a_region_never_written_is_not_run(tmp_path):
    assert finished().status.encoding["_FillValue"] is None


def test_history(tmp_path):
    """Fault 94."""
    source = RECORD.assign_attrs(
        history="yesterday: made", institution="here", title="line\x1b[31m", references="doi", Conventions="CF-1.4"
    )
    source.encoding["source"] = "/secret/path/evil\n\x1b[2Jname.nc"
    result = to_cf(analysis(source, "sst"), source, action="assimilate\n\x07", configuration="window=3")
    before, entry = result.attrs["history"].split("\n")
    assert before == "yesterday: made"
    stamp = datetime.datetime.strptime(entry.split(" ")[0], "%Y-%m-%dT%H:%M:%SZ")
    assert abs(datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None) - stamp).total_seconds() < 60
    assert "assimilate\\n\\x07 of file" in entry
    assert "\\x1b" in entry
    assert "secret" not in entry
    assert "configuration: window=3" in entry
    assert "(time: 3, lat: 4, lon: 5)" in entry
    assert result.attrs["title"] == "line\\x1b[31m"
    assert (result.attrs["institution"], result.attrs["references"]) == ("here", "doi")
    assert result.attrs["Conventions"] == "CF-1.11"
    assert all(c.isprintable() or c == "\n" for c in result.attrs["history"])
    strict(result, tmp_path)


def test_attributes_of_every_kind_are_kept_as_far_as_a_file_holds_them(tmp_path):
    area = (("lat", "lon"), np.full((4, 5), 1e10), {"units": "m2", "standard_name": "cell_area"})
    source = RECORD.assign_coords(seen=("lat", np.array([True, False, True, True])), area=area)
    source["sst"].attrs = {
        "units": "K",
        "comment": b"bytes \xff",
        "words": ["a", "b\x1b"],
        "numbers": [1, 2],
        "ragged": [[1], [2, 3]],
        "square": np.ones((2, 2)),
        "cell_measures": "area: area",
        "cell_methods": "lat: mean (interval: 1 degree comment: by hand)",
        "flag_values": "two",
        "1bad": "no name begins with a digit",
        "_ChunkSizes": np.array([1, 4, 5]),
    }
    source["lat"].attrs["valid_min"] = np.float64(-90)
    source["lat"].attrs |= {"cell_methods": "made_up: mean", "cell_measures": "area: absent"}
    result = finished(source)
    read = strict(result, tmp_path)
    assert read["sst"].attrs["comment"] == "bytes \ufffd"
    assert read["sst"].attrs["words"] == ["a", "b\\x1b"]
    np.testing.assert_array_equal(read["sst"].attrs["numbers"], [1, 2])
    assert read["sst"].attrs["cell_measures"] == "area: area"
    assert read["sst"].attrs["cell_methods"] == source["sst"].attrs["cell_methods"]
    assert not {"ragged", "square", "flag_values", "_ChunkSizes"} & set(read["sst"].attrs)
    assert not {"cell_methods", "cell_measures"} & set(read["lat"].attrs)
    assert read["lat"].attrs["valid_min"] == -90
    np.testing.assert_array_equal(read["seen"], [1, 0, 1, 1])
    assert read["seen"].attrs["flag_meanings"] == "false true"
    assert read["seen"].attrs["flag_values"].dtype == read["seen"].dtype == np.int8


@pytest.mark.parametrize(
    "mapping",
    [
        {"grid_mapping_name": "latitude_longitude", "semi_major_axis": 6378137.0, "inverse_flattening": 298.257223563},
        {"spatial_ref": "WGS 84", "crs_wkt": 'GEOGCRS["x",DATUM["y",ELLIPSOID["z",6378137,298.25]],CS[ellipsoidal,2],'
         'AXIS["lat",north],AXIS["lon",east],ANGLEUNIT["degree",0.0174532925199433]]'},
        {"grid_mapping_name": "flat_disc"},
    ],
    ids=["plain", "wkt", "unknown"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["S1", "i8", "coordinate", "S1 coordinate"])
def test_grid_mappings_of_any_type(mapping, kind, tmp_path):
    source = RECORD.copy()
    source["crs"] = (
        (),
        np.array(b"") if kind.startswith("S1") else np.int64(7),
        {**mapping, "_CoordinateAxisTypes": "GeoX"},
    )
    source["sst"] = source["sst"].assign_attrs(grid_mapping="crs", units="K")
    if kind.endswith("coordinate"):
        source = source.set_coords("crs")
        source["sst"].encoding["grid_mapping"] = source["sst"].attrs.pop("grid_mapping")
    output = analysis(source, "sst")
    output["sst"].encoding = dict(source["sst"].encoding)
    read = strict(to_cf(output, source, action="assimilate"), tmp_path)
    if mapping.get("grid_mapping_name") == "flat_disc":
        assert "crs" not in read
        assert "grid mapping crs dropped" in read.attrs["history"]
    else:
        assert read.crs.dtype == np.int32
        assert read.crs.shape == ()
        assert read.crs.attrs["grid_mapping_name"] == "latitude_longitude"
        assert {read[name].attrs["grid_mapping"] for name in ("sst", "u", "v", "sst_observed")} == {"crs"}


def test_rotated_pole(tmp_path):
    source = RECORD.rename(lat="rlat", lon="rlon")
    source["rlat"].attrs = {"units": "degrees", "standard_name": "grid_latitude", "axis": "Y"}
    source["rlon"].attrs = {"units": "degrees", "standard_name": "grid_longitude", "axis": "X"}
    source["rotated_pole"] = (
        (),
        b"",
        {
            "grid_mapping_name": "rotated_latitude_longitude",
            "grid_north_pole_latitude": 39.25,
            "grid_north_pole_longitude": -162.0,
        },
    )
    source["sst"].attrs = {"units": "K", "standard_name": "sea_surface_temperature", "grid_mapping": "rotated_pole"}
    read = strict(finished(source), tmp_path)
    assert read.u.attrs["standard_name"] == "surface_sea_water_x_velocity"


@pytest.mark.parametrize("file", ["ocean-arctic20-20160201.nc", "radar-fmi-20160928.nc"])
def test_input_is_not_changed(file, shared_data):
    name, _ = FILES[file]
    source = opened(shared_data / file)
    output = analysis(source, name)
    kept = {"source": source, "output": output}
    before = {
        key: {n: (dict(v.attrs), dict(v.encoding)) for n, v in one.variables.items()} for key, one in kept.items()
    }
    attrs = {key: dict(one.attrs) for key, one in kept.items()}
    values = output.copy(deep=True)
    result = to_cf(output, source, action="assimilate")
    for variable in result.variables.values():
        variable.attrs["touched"] = 1
    xr.testing.assert_identical(output, values)
    for key, one in kept.items():
        assert dict(one.attrs) == attrs[key]
        for n, variable in one.variables.items():
            assert str((dict(variable.attrs), dict(variable.encoding))) == str(before[key][n])


def test_lazy_outputs_stay_lazy():
    """Fault 86."""
    import dask

    def forbidden(*args, **options):
        raise AssertionError("computed")

    lazy = analysis(RECORD, "sst").chunk({"window": 1})
    with dask.config.set(scheduler=forbidden):
        result = to_cf(lazy, RECORD, action="assimilate")
    assert result.sst.chunks is not None


def test_finishing_again_changes_nothing_but_the_history():
    once = finished()
    twice = to_cf(once, RECORD, action="forecast")
    xr.testing.assert_identical(once.assign_attrs(history=""), twice.assign_attrs(history=""))
    assert len(twice.attrs["history"].splitlines()) == len(once.attrs["history"].splitlines()) + 1


def test_a_dataset_without_fields_is_enough(tmp_path):
    result = to_cf(xr.Dataset({"rmse": ("lead_time", np.ones(2), {"units": "K"})}), RECORD, action="verify")
    assert result.rmse.attrs["long_name"] == "rmse"
    strict(result, tmp_path)


def test_durations_and_times_keep_no_units_of_the_input(tmp_path):
    source = RECORD.copy()
    source["time"].attrs["units"] = "days since then"
    leads = np.array([0, 90], "m8[s]").astype("m8[ns]")
    source = source.assign_coords(lead=("lead", leads, {"units": "minutes", "long_name": "lead time"}))
    late = xr.DataArray([1.0, 2.0], dims="lead", coords={"lead": source["lead"]}, attrs={"units": "1"})
    result = to_cf(source[["sst"]].assign(late=late), source, action="assimilate")
    assert "units" not in result["time"].attrs
    assert "units" not in result["lead"].attrs
    assert result["lead"].encoding == {"units": "seconds", "dtype": np.dtype("int64"), "_FillValue": None}
    result.to_netcdf(tmp_path / "leads.nc")
    with netCDF4.Dataset(tmp_path / "leads.nc") as file:
        assert "_FillValue" not in file["lead"].ncattrs()
        assert (file["lead"].units, file["lead"][:].tolist()) == ("seconds", [0, 90])


def test_what_the_input_was_is_in_the_history(tmp_path):
    assert identity(RECORD).startswith("a dataset in memory (")
    RECORD.assign_attrs(tracking_id="hdl:1").to_netcdf(tmp_path / "sea.nc")
    with xr.open_dataset(tmp_path / "sea.nc") as source:
        sizes = ", ".join(f"{dim}: {size}" for dim, size in source.sizes.items())
        assert identity(source) == f"file 'sea.nc' ({sizes}) tracking_id=hdl:1"


def mended(result: xr.Dataset) -> list[str]:
    """What the history says was mended."""
    return [note for note in result.attrs["history"].partition("; changed for CF-1.11: ")[2].split("; ") if note]


def alone(attrs: dict[str, object], kind: str = "data", dtype: str = "f4") -> xr.Dataset:
    """A variable v with attributes, beside another, w."""
    dims = ("y", "x")
    v = xr.Variable(dims, np.zeros((2, 3), dtype), attrs)
    result = xr.Dataset({"w": xr.Variable(dims, np.zeros((2, 3)), {"long_name": "other"})})
    return result.assign(v=v) if kind == "data" else result.assign_coords(v=v)


def made(attrs: dict[str, object], kind: str = "data", dtype: str = "f4") -> tuple[dict[str, object], list[str]]:
    """Attributes that a variable leaves with, but for the name that it gets where it has none, and the notes."""
    result = to_cf(alone(attrs, kind, dtype), xr.Dataset(), action="make")
    kept = dict(result["v"].attrs)
    if not {"long_name", "standard_name"} & set(attrs) and kept.get("long_name") == "v":
        del kept["long_name"]
    return kept, mended(result)


@pytest.mark.parametrize(
    "given",
    [
        {"_FillValue": -9, "missing_value": -9, "scale_factor": 2.0, "add_offset": 1.0, "_Unsigned": "true"},
        {"dtype": "i2", "coordinates": "lat lon", "calendar": "noleap", "_Netcdf4Dimid": 1},
        {"_Netcdf4Coordinates": [0, 1], "_ChunkSizes": 3, "_Storage": "chunked", "_NCProperties": "x"},
        {"CLASS": "x", "NAME": "x", "REFERENCE_LIST": 1, "DIMENSION_LIST": 1, "DIMENSION_LABELS": 1},
    ],
)
def test_attributes_of_an_encoding_go_without_a_note(given) -> None:
    assert made(given) == made(given, "coordinate") == ({}, [])


@pytest.mark.parametrize("kind", ["data", "coordinate"])
@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"a b": 1, "ok_1": 1}, {"ok_1": 1}),
        ({"_a\x1b": 1, "Z9": 1}, {"Z9": 1}),
        # Links
        ({"ancillary_variables": "w"}, {"ancillary_variables": "w"}),
        ({"ancillary_variables": "gone w v"}, {"ancillary_variables": "w v"}),
        ({"ancillary_variables": "gone away"}, {}),
        ({"bounds": "v_\x07"}, {}),
        ({"climatology": "gone", "time": "gone"}, {}),
        ({"cell_measures": "area: w"}, {"cell_measures": "area: w"}),
        ({"cell_measures": "area: w volume: gone"}, {}),
        ({"formula_terms": "a:w b: v"}, {"formula_terms": "a:w b: v"}),
        ({"formula_terms": "gone: w b: gone"}, {}),
        ({"formula_terms": "w"}, {}),
        # How it was averaged
        ({"cell_methods": "y: x: mean"}, {"cell_methods": "y: x: mean"}),
        ({"cell_methods": "area: mean time: sum"}, {"cell_methods": "area: mean time: sum"}),
        ({"cell_methods": "latitude: longitude: mean"}, {"cell_methods": "latitude: longitude: mean"}),
        ({"cell_methods": "w: mean (interval: 1 s)"}, {"cell_methods": "w: mean (interval: 1 s)"}),
        ({"cell_methods": "w: mean gone: sum"}, {}),
        ({"cell_methods": "mean\x1b"}, {}),
        # Values of each kind
        ({"a": True, "b": np.False_, "c": 1.5, "d": np.int16(2)}, {"a": 1, "b": 0, "c": 1.5, "d": 2}),
        ({"a": "x\n\x1b\u00e9", "b": b"x\n\x1b\xc3\xa9"}, dict.fromkeys("ab", "x\n\\x1b\u00e9")),
        ({"a": [1, 2], "b": (1.5, 2)}, {"a": [1, 2], "b": (1.5, 2)}),
        ({"a": ["x", "y\n"], "b": ("z",)}, {"a": ["x", "y\\n"], "b": ["z"]}),
        ({"a": [[1, 2]]}, {}),
        ({"a": [["x"]]}, {}),
        ({"a": [[1], [2, 3]]}, {}),
        ({"a": None}, {}),
        ({"a": {"b": 1}}, {}),
        ({"a": np.datetime64("2000", "s")}, {}),
        ({"flag_values": "1b 2b"}, {}),
        ({"flag_masks": ["1", "2"]}, {}),
        ({"flag_values": None}, {}),
        # What comes after something that was dropped
        ({"a b": 1, "ancillary_variables": "gone", "cell_methods": "gone", "a": None, "comment": "kept"},
         {"comment": "kept"}),
    ],
)  # fmt: skip
def test_attributes_that_are_kept_and_notes_of_the_others(given, kept, kind) -> None:
    found, notes = made(given, kind)
    assert found == kept
    assert_named(notes, set(given) - set(kept))


def assert_named(notes: list[str], names: set[str]) -> None:
    """Assert that each attribute is named by one note, with its control characters escaped."""
    named = [note.partition(" of v")[0].removeprefix("attribute ") for note in notes]
    assert sorted(named) == sorted(name.replace("\x1b", "\\x1b") for name in names)


@pytest.mark.parametrize("key", ["valid_min", "valid_max", "valid_range", "actual_range"])
def test_ranges_stay_with_coordinates_of_their_type_alone(key) -> None:
    value = np.array([0, 1] if key.endswith("range") else 1, "f4")[()]
    kept, notes = made({key: value})
    assert kept == {}
    assert_named(notes, {key})
    kept, notes = made({key: value}, "coordinate")
    np.testing.assert_array_equal(kept.pop(key), value)
    assert (kept, notes) == ({}, [])
    assert made({key: value.astype("f8")}, "coordinate")[0] == {}
    dates = np.array(["2000-01-01", "2000-01-02"], "M8[ns]")
    for bound in (value, dates if key.endswith("range") else dates[0]):
        result = to_cf(xr.Dataset(coords={"v": ("v", dates, {key: bound})}), xr.Dataset(), action="make")
        assert key not in result["v"].attrs
        assert any(key in note for note in mended(result))


@pytest.mark.parametrize("dtype", ["i1", "i2", "f4"])
def test_flags_have_the_type_of_their_variable(dtype) -> None:
    given = {"flag_values": [0, 1], "flag_masks": np.array([1, 2], "i8"), "flag_meanings": "a b", "numbers": [0, 1]}
    for result in (
        to_cf(alone(given, dtype=dtype), xr.Dataset(), action="make"),
        for_writing(alone(given, dtype=dtype)),
    ):
        attrs = result["v"].attrs
        for key in ("flag_values", "flag_masks"):
            assert attrs[key].dtype == dtype
            assert attrs[key].tolist() == list(given[key])
        assert (attrs["flag_meanings"], attrs["numbers"]) == ("a b", [0, 1])
    assert for_writing(alone({"flag_values": 1}, dtype=dtype))["v"].attrs["flag_values"].shape == ()


def test_what_was_read_back_is_not_changed_by_making_it_ready() -> None:
    read = alone({"flag_values": [0, 1]})
    read["v"].encoding = {"zlib": True, "_FillValue": -1.0}
    read.encoding = {"source": "old.nc", "unlimited_dims": {"y"}}
    result = for_writing(read)
    assert read["v"].attrs == {"flag_values": [0, 1]}
    assert read["v"].encoding == {"zlib": True, "_FillValue": -1.0}
    assert read.encoding == {"source": "old.nc", "unlimited_dims": {"y"}}
    assert result.encoding == {}


KELVIN = {"units": "K", "units_metadata": "temperature: on_scale"}
DIFFERENCE = {"units": "K", "units_metadata": "temperature: difference"}


@pytest.mark.parametrize("kind", ["data", "coordinate"])
@pytest.mark.parametrize(
    ("given", "kept", "noted"),
    [
        ({}, {}, False),
        *(
            ({"units": same}, {"units": same}, False)
            for same in ("m s-1", "metres", " mm", "m/s", "m s**-1", "percent")
        ),
        ({"units": "deg C"}, KELVIN | {"units": "degree_Celsius"}, True),
        ({"units": "K"}, KELVIN, False),
        (DIFFERENCE, DIFFERENCE, False),
        ({"units": "mm/5min"}, {"units": "mm (5 min)-1"}, True),
        ({"units": "b\x07"}, {}, True),
        ({"units": 1}, {"units": "1"}, False),
    ],
)
def test_units_as_udunits_reads_them(given, kept, noted, kind) -> None:
    found, notes = made(given, kind)
    assert found == kept
    assert_named(notes, {"units"} if noted else set())


POSITIONS = {
    "latitude": ("degrees_north", "degree_north", "degrees_N", "degree_N", "degreesN", "degreeN"),
    "longitude": ("degrees_east", "degree_east", "degrees_E", "degree_E", "degreesE", "degreeE"),
}


@pytest.mark.parametrize(("name", "units"), [(name, one) for name, every in POSITIONS.items() for one in every])
def test_positions_are_called_what_they_are(name, units) -> None:
    axis = {"latitude": "Y", "longitude": "X"}[name]
    ours = {"units": units, "standard_name": name, "long_name": name}
    assert made({"units": units}, "coordinate")[0] == ours
    assert made({"units": units}) == ({"units": units}, [])  # a field of them may be anything
    own = {"units": units, "standard_name": "grid_latitude", "long_name": "own"}
    assert made(own, "coordinate") == (own, [])
    for given, kept in (({}, axis), ({"axis": "Z"}, "Z")):
        line = xr.Dataset(coords={"v": ("v", np.arange(2.0), {"units": units, **given})})
        assert to_cf(line, xr.Dataset(), action="make")["v"].attrs == {**ours, "axis": kept}
    other = xr.Dataset({"f": ("y", np.zeros(2))}, coords={"v": ("y", np.arange(2.0), {"units": units})})
    assert to_cf(other, xr.Dataset(), action="make")["v"].attrs == ours


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("rainfall_rate", "mm h-1", "kg m-2 s-1"),
        ("lwe_precipitation_rate", "m s-1", "mm"),
        ("rainfall_flux", "kg m-2 h-1", "mm"),
        ("precipitation_flux", "g m-2 s-1", "mm h-1"),
        ("precipitation_amount", "kg m-2", "mm"),
        ("rainfall_amount", "g m-2", "m"),
        ("thickness_of_rainfall_amount", "mm", "mm h-1"),
        ("lwe_thickness_of_precipitation_amount", "mm", "kg m-2"),
        ("equivalent_reflectivity_factor", "dBZ", "m"),
        ("rainfall_flux", None, None),
        ("rainfall_flux standard_error", "kg m-2 s-1", "mm"),
        ("air_density detection_minimum", "kg m-3", None),
        ("unknown_rain", "mm h-1", None),
        *((name, None, "mm h-1") for name in ("air_density number_of_errors", "Rain rate", "1rain", "unknown")),
    ],
)
def test_standard_names_stay_if_cf_has_them_with_these_units(name, right, wrong) -> None:
    for kind in ("data", "coordinate"):
        if right is not None or wrong is None:
            given = {"standard_name": name} | ({} if right is None else {"units": right})
            assert made(given, kind) == (given, [])
        if wrong is not None:
            given = {"standard_name": name, "units": wrong}
            kept, notes = made(given, kind)
            assert kept == {"units": wrong, "long_name": name.replace("_", " ")}
            assert_named(notes, {f"standard_name {name}"})
            assert made({**given, "long_name": "own"}, kind)[0] == {"units": wrong, "long_name": "own"}


def test_a_variable_without_a_name_of_cf_gets_its_own_in_words() -> None:
    names = {"speed_of_echo": "speed of echo", "_": "variable", "a\x07b": "a\\x07b"}
    data = {name: ("x", np.zeros(2)) for name in names}
    result = to_cf(xr.Dataset(data), xr.Dataset(), action="make")
    assert {name: result[name].attrs for name in names} == {name: {"long_name": words} for name, words in names.items()}


UTC = {"units_metadata": "leap_seconds: utc"}
UNKNOWN = {"standard_name": "time", "units_metadata": "leap_seconds: unknown"}


@pytest.mark.parametrize(
    ("calendar", "given", "kept", "notes"),
    [
        (None, {}, UNKNOWN, 1),
        ("standard", {}, UNKNOWN, 1),
        ("gregorian", {}, UNKNOWN, 1),
        ("proleptic_gregorian", {}, UNKNOWN, 1),
        ("julian", {}, UNKNOWN, 1),
        ("noleap", {}, {"standard_name": "time"}, 0),
        ("360_day", {"units": "days"}, {"standard_name": "time"}, 0),
        (None, UTC, {"standard_name": "time", **UTC}, 0),
        (None, {"standard_name": "date", "axis": "T", "long_name": "x"},
         {**UNKNOWN, "axis": "T", "long_name": "x"}, 1),
        ("noleap", {"standard_name": "forecast_reference_time"}, {"standard_name": "forecast_reference_time"}, 0),
    ],
)  # fmt: skip
def test_times_say_what_they_are_and_how_leap_seconds_count(calendar, given, kept, notes) -> None:
    values = np.array(["2000-01-01", "2000-01-02"], "M8[ns]")
    if calendar is not None:
        values = np.array([cftime.datetime(2000, 1, day, calendar=calendar) for day in (1, 2)])
    result = to_cf(xr.Dataset(coords={"t": ("t", values, given)}), xr.Dataset(), action="make")
    assert (result["t"].attrs, len(mended(result))) == (kept, notes)
    # An axis is that of the dimension of its name.
    kept = {key: value for key, value in kept.items() if key != "axis"}
    for dims, shape in (("n", (2,)), (("t", "n"), (1, 2)), ((), ())):
        own = xr.Dataset({"t": (dims, values[:2].reshape(shape) if shape else values[0], given)}).set_coords("t")
        assert to_cf(own, xr.Dataset(), action="make")["t"].attrs == kept


def test_the_time_of_reference_is_known_by_its_name() -> None:
    dates = np.array(["2000-01-01", "2000-01-02"], "M8[ns]")
    names = ["forecast_reference_time", "time"]
    result = to_cf(xr.Dataset(coords=dict.fromkeys(names, ("n", dates))), xr.Dataset(), action="make")
    assert [result[name].attrs["standard_name"] for name in names] == names


DAY = np.datetime64("2000-01-01", "ns")
DATE = cftime.datetime(2000, 1, 1, 0, 0, 1, calendar="noleap")


def since(unit: str, calendar: str = "proleptic_gregorian", *, missing: bool = False) -> dict[str, object]:
    start = f"{unit} since 1970-01-01 00:00:00"
    dtype, fill = (np.dtype("f8"), np.nan) if missing else (np.dtype("i8"), None)
    return {"units": start, "calendar": calendar, "dtype": dtype, "_FillValue": fill}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        *((np.zeros(2, dtype), {"dtype": np.dtype(dtype), "_FillValue": None}) for dtype in ("i1", "u2", "i8")),
        *((np.zeros(2, dtype), {"dtype": np.dtype(dtype), "_FillValue": np.nan}) for dtype in ("f4", "f8")),
        (np.array([True, False]), {"dtype": np.dtype("i1"), "_FillValue": None}),
        (np.array([DAY, DAY]), since("seconds")),
        (np.array([DAY, DAY + np.timedelta64(1, "ms")]), since("milliseconds")),
        (np.array([DAY, DAY + np.timedelta64(1, "us")]), since("microseconds")),
        (np.array([DAY + np.timedelta64(1, "ns"), DAY]), since("nanoseconds")),
        (np.array([DAY, np.datetime64("NaT")]), since("seconds", missing=True)),
        (np.array([DAY + np.timedelta64(1, "ms"), np.datetime64("NaT")]), since("milliseconds", missing=True)),
        (np.array([np.datetime64("NaT", "ns")] * 2), since("seconds", missing=True)),
        (np.array([DATE, DATE]), since("seconds", "noleap")),
        (np.array([DATE, DATE.replace(microsecond=1)]), since("microseconds", "noleap")),
        *(
            (np.array(leads).astype("m8[ns]"), {"units": "seconds", "dtype": np.dtype(dtype), "_FillValue": None})
            for leads, dtype in (
                (np.array([0, 90], "m8[s]"), "i8"),
                (np.array([0, 1500], "m8[ms]"), "f8"),
                (np.array([0, "NaT"], "m8[s]"), "f8"),
            )
        ),
    ],
)
def test_nothing_but_what_is_meant_is_encoded(values, expected) -> None:
    source = xr.Dataset({"f": ("n", values)}, coords={"c": ("n", values)})
    for name in ("f", "c"):
        source[name].encoding = {"zlib": True, "scale_factor": 2.0}
    result = to_cf(source, xr.Dataset(), action="make")
    np.testing.assert_equal(result["f"].encoding, expected)
    plain = values.dtype.kind == "f"
    np.testing.assert_equal(result["c"].encoding, expected | ({"_FillValue": None} if plain else {}))


def test_truth_becomes_a_flag_with_the_words_that_it_had() -> None:
    for given, words in (({}, "false true"), ({"flag_meanings": "dry wet"}, "dry wet")):
        source = xr.Dataset({"v": ("x", np.array([True, False]), {"long_name": "wet", **given})})
        result = to_cf(source, xr.Dataset(), action="make")["v"]
        assert (result.dtype, result.values.tolist()) == (np.int8, [1, 0])
        assert result.attrs["flag_values"].tolist() == [0, 1]
        assert (result.attrs["flag_meanings"], result.attrs["long_name"]) == (words, "wet")
        assert source["v"].dtype == bool


@pytest.mark.filterwarnings("ignore:Duplicate dimension names")
def test_text_and_repeated_dimensions_are_dropped_and_dates_are_no_text() -> None:
    empty, lazy = np.array([], object), xr.Variable("x", np.array(["a", "b"], object)).chunk()
    source = xr.Dataset(
        {
            "words": ("x", np.array(["a", "b"])),
            "bytes": ("x", np.array([b"a", b"b"])),
            "objects\x07": ("x", np.array(["a", "b"], object)),
            "empty": ("none", empty),
            "lazy": lazy,
            "dates": ("x", np.array([DATE, DATE])),
            "crs": ((), b"", {"grid_mapping_name": "latitude_longitude"}),
            "odd": ((), b"", {"grid_mapping_name": 1}),
            "kept": ("x", np.zeros(2)),
        }
    )
    source["square"] = xr.Variable(("x", "x"), np.zeros((2, 2)))
    result = to_cf(source, xr.Dataset(), action="make")
    assert set(result.variables) == {"dates", "kept"}
    dropped = ["words", "bytes", "objects\\x07", "empty", "lazy", "odd", "square"]
    assert [note.partition(" dropped")[0] for note in mended(result)] == dropped
    assert "words" in source


MAPPING = {"grid_mapping_name": "latitude_longitude", "earth_radius": 6371000.0}


def mapped(**links: str) -> xr.Dataset:
    """Fields on (y, x), and one along time, with links to a mapping."""
    shapes = {"a": ("time", "y", "x"), "b": ("y", "x"), "c": ("x", "y"), "other": ("y", "z"), "line": ("x",)}
    sizes = {"time": 2, "y": 3, "x": 4, "z": 5}
    data = {
        name: (dims, np.zeros([sizes[dim] for dim in dims]), {"grid_mapping": links[name]} if name in links else {})
        for name, dims in shapes.items()
    }
    return xr.Dataset(data, coords={"height": (("y", "x"), np.zeros((3, 4)), {"units": "m"})})


@pytest.mark.parametrize("where", ["output", "input"])
@pytest.mark.parametrize("link", ["crs", "crs: y x", "crs: y x other: z"])
def test_every_field_of_a_plane_points_at_its_grid_mapping(where, link) -> None:
    output, source = mapped(a=link), xr.Dataset()
    holder = output if where == "output" else source
    holder["crs"] = ((), np.int32(0), MAPPING)
    result = to_cf(output, source, action="make")
    pointing = {name for name, v in result.variables.items() if "grid_mapping" in v.attrs}
    assert pointing == {"a", "b", "c"}
    assert {result[name].attrs["grid_mapping"] for name in pointing} == {"crs"}
    assert "crs" in result.data_vars
    assert result["crs"].attrs == MAPPING
    assert result["crs"].encoding == {"dtype": np.dtype("i4"), "_FillValue": None}
    assert mended(result) == []


def test_a_grid_mapping_of_a_line_is_none_of_its_plane() -> None:
    output = mapped(line="crs").assign(crs=((), np.int32(0), MAPPING))
    result = to_cf(output, xr.Dataset(), action="make")
    assert not [name for name, v in result.variables.items() if "grid_mapping" in v.attrs]


def test_links_to_grid_mappings_that_are_not_there_or_no_text() -> None:
    output = mapped(a="gone\x07: y x", b="", other=" ").assign(stray=((), np.int32(0), MAPPING))
    output["c"].attrs["grid_mapping"] = 7
    result = to_cf(output, xr.Dataset(), action="make")
    assert "stray" not in result
    assert not [name for name, v in result.variables.items() if "grid_mapping" in v.attrs]
    (note,) = mended(result)
    assert "gone\\x07" in note


def test_two_planes_with_two_grid_mappings() -> None:
    second = {"grid_mapping_name": "latitude_longitude", "earth_radius": 6.3e6}
    output = mapped(a="one", other="two").assign(one=((), 0, MAPPING), two=((), 0, second))
    result = to_cf(output, xr.Dataset(), action="make")
    links = [result[name].attrs.get("grid_mapping") for name in ("a", "b", "other", "line")]
    assert links == ["one", "one", "two", None]
    assert (result["one"].attrs, result["two"].attrs) == (MAPPING, second)


def test_global_attributes_and_the_history() -> None:
    source = xr.Dataset(
        {"f": (("y", "x"), np.zeros((2, 3)))},
        attrs={"id": "a\x1b", "uuid": 7, "tracking_id": "t", "comment": "input", "grid_mapping": "crs", "bad": None}
        | {"1st": 1, "history": " before\n", "_NCProperties": "v2", "references": ["a", "b"]},
    )
    output = xr.Dataset({"f": ("x", np.zeros(2), {"a": None})}, attrs={"comment": "output", "xvar_note": True})
    output["f"].attrs["b"] = None
    version = importlib.metadata.version("xvar")
    result = to_cf(output, source, action="make\x07", configuration="a\x1b")
    before, entry = result.attrs.pop("history").split("\n")
    assert before == "before"
    for words in (
        f"xvar {version}: make\\x07 ",
        "(y: 2, x: 3) id=a\\x1b tracking_id=t uuid=7",
        "configuration: a\\x1b",
    ):
        assert words in entry
    assert len(mended(result.assign_attrs(history=entry))) == 4
    marks = {"id": "a\\x1b", "uuid": 7, "tracking_id": "t"}
    own = {"title": "xvar make\\x07", "source": f"xvar {version}", "Conventions": "CF-1.11"}
    expected = {**marks, "comment": "output", "references": ["a", "b"], "xvar_note": 1, **own}
    assert result.attrs == expected
    titled = to_cf(output.assign_attrs(title="t", source="s", history="own"), source, action="make")
    assert (titled.attrs["title"], titled.attrs["source"]) == ("t", "s")
    assert titled.attrs["history"].startswith("own\n")


def test_equal_notes_are_written_once() -> None:
    kept = xr.Dataset({"f": (("y", "x"), np.zeros((2, 3)), {"grid_mapping": "crs"})})
    source = xr.Dataset({"crs": ((), 0, {**MAPPING, "colour": "blue"})})
    result = to_cf(kept.assign(g=kept["f"]), source, action="make")
    assert result["crs"].attrs == MAPPING
    assert len(mended(result)) == 1
