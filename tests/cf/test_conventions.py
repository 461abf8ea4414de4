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
from tests.records import bare
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


def test_what_no_file_can_hold_is_dropped_and_noted(tmp_path):
    source = RECORD.assign_attrs({"weird": {"a": 1}, "flag": True, "1bad": "x", "nothing": None})
    source["sst"].attrs = {"units": "K", "made_by": object(), "ancillary_variables": "sst_error", "valid": np.True_}
    result = finished(source)
    assert "global attribute weird dropped" in result.attrs["history"]
    assert "attribute made_by of sst dropped" in result.attrs["history"]
    assert "ancillary_variables of sst dropped: sst_error is not in the output" in result.attrs["history"]
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
    history = read.attrs["history"]
    assert read["lat"].attrs["valid_min"] == -90
    assert "attribute 1bad of sst dropped: no name of CF" in history
    assert "attribute ragged of sst dropped: list" in history
    assert "attribute flag_values of sst dropped: str" in history
    assert "cell_methods of lat dropped: made_up: mean" in history
    assert "cell_measures of lat dropped: area: absent is not in the output" in history
    np.testing.assert_array_equal(read["seen"], [1, 0, 1, 1])
    assert read["seen"].attrs["flag_meanings"] == "false true"
    assert read["seen"].attrs["flag_values"].dtype == read["seen"].dtype == np.int8


def test_units_that_udunits_cannot_read_are_dropped_and_noted(tmp_path):
    result = finished(RECORD.assign_coords(depth=((), 3.0, {"units": "bananas"})))
    assert "units of depth dropped: 'bananas' is none of UDUNITS" in result.attrs["history"]
    assert "units" not in strict(result, tmp_path)["depth"].attrs


def test_dates_of_other_calendars_to_the_microsecond(tmp_path):
    dates = [
        cftime.datetime(2000, 2, 30, 0, 0, second, micro, calendar="360_day") for second, micro in enumerate((0, 7))
    ]
    source = RECORD.isel(time=[0, 1]).assign_coords(time=("time", dates))
    output = RECORD.isel(time=[0, 1])[["sst"]].assign_coords(time=("time", dates))
    result = to_cf(output, source, action="assimilate")
    assert result["time"].encoding["units"].startswith("microseconds")
    result.to_netcdf(tmp_path / "dates.nc")
    with netCDF4.Dataset(tmp_path / "dates.nc") as file:
        np.testing.assert_array_equal(np.diff(file["time"][:]), [1000007])


def test_a_checkout_that_is_not_installed_has_no_version(monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    assert "xvar unknown" in finished().attrs["history"]


def test_text_coordinates_are_dropped_and_noted(tmp_path):
    source = RECORD.assign_coords(platform="Metop-B", member=3)
    result = finished(source)
    assert "platform" not in result.coords
    assert "platform dropped: text" in result.attrs["history"]
    assert int(strict(result, tmp_path).member) == 3


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


def test_standard_names_that_contradict_their_units(tmp_path):
    source = RECORD.rename(sst="rain")
    source["rain"].attrs = {"units": "mm h-1", "standard_name": "rainfall_flux"}
    result = finished(source, "rain")
    assert "standard_name" not in result["rain"].attrs
    assert "standard_name rainfall_flux of rain dropped: it needs units of kg m-2 s-1" in result.attrs["history"]
    strict(result, tmp_path)


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


def test_units_that_are_the_same_stay_as_they_are_written(tmp_path):
    written = {"a": "m/s", "b": "m s**-1", "c": "meter", "d": "percent"}
    fields = {
        name: bare(RECORD.sst.isel(time=0, drop=True)).assign_attrs(units=units, long_name=name)
        for name, units in written.items()
    }
    result = finished(**fields)
    assert {name: result[name].attrs["units"] for name in written} == written
    assert not any(f"units of {name}" in result.attrs["history"] for name in written)
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


def test_a_grid_mapping_keeps_what_cf_has_and_tells_of_the_rest(tmp_path):
    source = RECORD.copy()
    mapping = {"grid_mapping_name": "latitude_longitude", "earth_radius": 6371000.0, "colour": "blue"}
    source["crs"] = ((), np.int32(0), {**mapping, "units": "m", "coordinates": "lat lon"})
    source["sst"] = source["sst"].assign_attrs(grid_mapping="crs", units="K")
    result = finished(source)
    assert result["crs"].attrs == {key: value for key, value in mapping.items() if key != "colour"}
    (note,) = [line for line in result.attrs["history"].replace(";", "\n").splitlines() if "crs" in line]
    assert "attribute colour of crs dropped: no attribute of latitude_longitude" in note


def test_what_the_input_was_is_in_the_history(tmp_path):
    assert identity(RECORD).startswith("a dataset in memory (")
    RECORD.assign_attrs(tracking_id="hdl:1").to_netcdf(tmp_path / "sea.nc")
    with xr.open_dataset(tmp_path / "sea.nc") as source:
        sizes = ", ".join(f"{dim}: {size}" for dim, size in source.sizes.items())
        assert identity(source) == f"file 'sea.nc' ({sizes}) tracking_id=hdl:1"


def mended(result: xr.Dataset) -> list[str]:
    """What the history says was mended."""
    return [note for note in result.attrs["history"].partition("; mended for CF-1.11: ")[2].split("; ") if note]


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


STOOD = "of v dropped: it stood for the values of the input"
ABSENT = "of v dropped: gone is not in the output"
GONE = "is not in the output"


@pytest.mark.parametrize("kind", ["data", "coordinate"])
@pytest.mark.parametrize(
    ("given", "kept", "notes"),
    [
        ({"_FillValue": -9, "missing_value": -9, "scale_factor": 2.0, "add_offset": 1.0, "_Unsigned": "true"}, {}, []),
        ({"dtype": "i2", "coordinates": "lat lon", "calendar": "noleap", "_Netcdf4Dimid": 1}, {}, []),
        ({"_Netcdf4Coordinates": [0, 1], "_ChunkSizes": 3, "_Storage": "chunked", "_NCProperties": "x"}, {}, []),
        ({"CLASS": "x", "NAME": "x", "REFERENCE_LIST": 1, "DIMENSION_LIST": 1, "DIMENSION_LABELS": 1}, {}, []),
        ({"a b": 1, "ok_1": 1}, {"ok_1": 1}, ["attribute a b of v dropped: no name of CF"]),
        ({"_a\x1b": 1, "Z9": 1}, {"Z9": 1}, ["attribute _a\\x1b of v dropped: no name of CF"]),
        # Links
        ({"ancillary_variables": "w"}, {"ancillary_variables": "w"}, []),
        ({"ancillary_variables": "gone w v"}, {"ancillary_variables": "w v"}, []),
        ({"ancillary_variables": "gone away"}, {}, [f"ancillary_variables of v dropped: gone away {GONE}"]),
        ({"bounds": "v_\x07"}, {}, [f"bounds of v dropped: v_\\x07 {GONE}"]),
        ({"climatology": "gone", "time": "gone"}, {}, [f"climatology {ABSENT}", f"time {ABSENT}"]),
        ({"cell_measures": "area: w"}, {"cell_measures": "area: w"}, []),
        ({"cell_measures": "area: w volume: gone"}, {}, [f"cell_measures of v dropped: area: w volume: gone {GONE}"]),
        ({"formula_terms": "a:w b: v"}, {"formula_terms": "a:w b: v"}, []),
        ({"formula_terms": "gone: w b: gone"}, {}, [f"formula_terms of v dropped: gone: w b: gone {GONE}"]),
        ({"formula_terms": "w"}, {}, [f"formula_terms of v dropped: w {GONE}"]),
        # How it was averaged
        ({"cell_methods": "y: x: mean"}, {"cell_methods": "y: x: mean"}, []),
        ({"cell_methods": "area: mean time: sum"}, {"cell_methods": "area: mean time: sum"}, []),
        ({"cell_methods": "latitude: longitude: mean"}, {"cell_methods": "latitude: longitude: mean"}, []),
        ({"cell_methods": "w: mean (interval: 1 s)"}, {"cell_methods": "w: mean (interval: 1 s)"}, []),
        ({"cell_methods": "w: mean gone: sum"}, {}, ["cell_methods of v dropped: w: mean gone: sum"]),
        ({"cell_methods": "mean\x1b"}, {}, ["cell_methods of v dropped: mean\\x1b"]),
        # Values of each kind
        ({"a": True, "b": np.False_, "c": 1.5, "d": np.int16(2)}, {"a": 1, "b": 0, "c": 1.5, "d": 2}, []),
        ({"a": "x\n\x1b\u00e9", "b": b"x\n\x1b\xc3\xa9"}, dict.fromkeys("ab", "x\n\\x1b\u00e9"), []),
        ({"a": [1, 2], "b": (1.5, 2)}, {"a": [1, 2], "b": (1.5, 2)}, []),
        ({"a": ["x", "y\n"], "b": ("z",)}, {"a": ["x", "y\\n"], "b": ["z"]}, []),
        ({"a": [[1, 2]]}, {}, ["attribute a of v dropped: list"]),
        ({"a": [["x"]]}, {}, ["attribute a of v dropped: list"]),
        ({"a": [[1], [2, 3]]}, {}, ["attribute a of v dropped: list"]),
        ({"a": None}, {}, ["attribute a of v dropped: NoneType"]),
        ({"a": {"b": 1}}, {}, ["attribute a of v dropped: dict"]),
        ({"a": np.datetime64("2000", "s")}, {}, ["attribute a of v dropped: datetime64"]),
        ({"flag_values": "1b 2b"}, {}, ["attribute flag_values of v dropped: str"]),
        ({"flag_masks": ["1", "2"]}, {}, ["attribute flag_masks of v dropped: list"]),
        ({"flag_values": None}, {}, ["attribute flag_values of v dropped: NoneType"]),
        # What comes after something that was dropped
        ({"a b": 1, "ancillary_variables": "gone", "cell_methods": "gone", "a": None, "comment": "kept"},
         {"comment": "kept"},
         ["attribute a b of v dropped: no name of CF", f"ancillary_variables of v dropped: gone {GONE}",
          "cell_methods of v dropped: gone", "attribute a of v dropped: NoneType"]),
    ],
)  # fmt: skip
def test_attributes_that_are_kept_and_what_is_told_of_the_others(given, kept, notes, kind) -> None:
    assert made(given, kind) == (kept, notes)


@pytest.mark.parametrize("key", ["valid_min", "valid_max", "valid_range", "actual_range"])
def test_ranges_stay_with_coordinates_of_their_type_alone(key) -> None:
    value = np.array([0, 1] if key.endswith("range") else 1, "f4")[()]
    assert made({key: value}) == ({}, [f"{key} {STOOD}"])
    kept, notes = made({key: value}, "coordinate")
    np.testing.assert_array_equal(kept.pop(key), value)
    assert (kept, notes) == ({}, [])
    assert made({key: value.astype("f8")}, "coordinate") == ({}, [f"{key} {STOOD}"])
    dates = np.array(["2000-01-01", "2000-01-02"], "M8[ns]")
    for bound in (value, dates if key.endswith("range") else dates[0]):
        result = to_cf(xr.Dataset(coords={"v": ("v", dates, {key: bound})}), xr.Dataset(), action="make")
        assert key not in result["v"].attrs
        assert f"{key} {STOOD}" in mended(result)


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


@pytest.mark.parametrize("kind", ["data", "coordinate"])
@pytest.mark.parametrize(
    ("given", "kept", "notes"),
    [
        ({}, {}, []),
        ({"units": "m s-1"}, {"units": "m s-1"}, []),
        ({"units": "metres"}, {"units": "metres"}, []),
        ({"units": " mm"}, {"units": " mm"}, []),
        ({"units": "deg C"}, {"units": "degree_Celsius", "units_metadata": "temperature: on_scale"},
         ["units of v: 'deg C' written as 'degree_Celsius'"]),
        ({"units": "K"}, {"units": "K", "units_metadata": "temperature: on_scale"}, []),
        ({"units": "K", "units_metadata": "temperature: difference"},
         {"units": "K", "units_metadata": "temperature: difference"}, []),
        ({"units": "mm/5min"}, {"units": "mm (5 min)-1"}, ["units of v: 'mm/5min' written as 'mm (5 min)-1'"]),
        ({"units": "b\x07"}, {}, ["units of v dropped: 'b\\\\x07' is none of UDUNITS"]),
        ({"units": 1}, {"units": "1"}, []),
    ],
)  # fmt: skip
def test_units_as_udunits_reads_them(given, kept, notes, kind) -> None:
    assert made(given, kind) == (kept, notes)


POSITIONS = {
    "latitude": ("degrees_north", "degree_north", "degrees_N", "degree_N", "degreesN", "degreeN"),
    "longitude": ("degrees_east", "degree_east", "degrees_E", "degree_E", "degreesE", "degreeE"),
}


@pytest.mark.parametrize(("name", "units"), [(name, one) for name, every in POSITIONS.items() for one in every])
def test_positions_are_called_what_they_are(name, units) -> None:
    axis = {"latitude": "Y", "longitude": "X"}[name]
    ours = {"units": units, "standard_name": name, "long_name": name}
    told = f"standard_name of v: {name}"
    assert made({"units": units}, "coordinate") == (ours, [told])
    assert made({"units": units}) == ({"units": units}, [])  # a field of them may be anything
    own = {"units": units, "standard_name": "grid_latitude", "long_name": "own"}
    assert made(own, "coordinate") == (own, [])
    for given, kept in (({}, axis), ({"axis": "Z"}, "Z")):
        line = xr.Dataset(coords={"v": ("v", np.arange(2.0), {"units": units, **given})})
        assert to_cf(line, xr.Dataset(), action="make")["v"].attrs == {**ours, "axis": kept}
    other = xr.Dataset({"f": ("y", np.zeros(2))}, coords={"v": ("y", np.arange(2.0), {"units": units})})
    assert to_cf(other, xr.Dataset(), action="make")["v"].attrs == ours


NAMED = "standard_name {} of v dropped: {}"


@pytest.mark.parametrize("kind", ["data", "coordinate"])
@pytest.mark.parametrize(
    ("name", "units", "why"),
    [
        ("rainfall_rate", "mm h-1", ""),
        ("rainfall_rate", "kg m-2 s-1", "it needs units of m s-1, not kg m-2 s-1"),
        ("lwe_precipitation_rate", "m s-1", ""),
        ("lwe_precipitation_rate", "mm", "it needs units of m s-1, not mm"),
        ("rainfall_flux", "kg m-2 h-1", ""),
        ("rainfall_flux", "mm", "it needs units of kg m-2 s-1, not mm"),
        ("precipitation_flux", "g m-2 s-1", ""),
        ("precipitation_flux", "mm h-1", "it needs units of kg m-2 s-1, not mm h-1"),
        ("precipitation_amount", "kg m-2", ""),
        ("precipitation_amount", "mm", "it needs units of kg m-2, not mm"),
        ("rainfall_amount", "g m-2", ""),
        ("rainfall_amount", "m", "it needs units of kg m-2, not m"),
        ("thickness_of_rainfall_amount", "mm", ""),
        ("thickness_of_rainfall_amount", "mm h-1", "it needs units of m, not mm h-1"),
        ("lwe_thickness_of_precipitation_amount", "mm", ""),
        ("lwe_thickness_of_precipitation_amount", "kg m-2", "it needs units of m, not kg m-2"),
        ("equivalent_reflectivity_factor", "dBZ", ""),
        ("equivalent_reflectivity_factor", "m", "it needs units of dBZ, not m"),
        ("rainfall_flux", None, ""),
        ("rainfall_flux standard_error", "mm", "it needs units of kg m-2 s-1, not mm"),
        ("rainfall_flux standard_error", "kg m-2 s-1", ""),
        ("air_density detection_minimum", "kg m-3", ""),
        ("air_density number_of_errors", "kg m-3", "no standard name of CF"),
        ("Rain rate", "mm h-1", "no standard name of CF"),
        ("1rain", "mm h-1", "no standard name of CF"),
        ("unknown", "mm h-1", "no standard name of CF"),
        ("unknown_rain", "mm h-1", ""),
    ],
)
def test_standard_names_that_are_kept_and_what_is_told_of_the_others(name, units, why, kind) -> None:
    given = {"standard_name": name} | ({} if units is None else {"units": units})
    kept, notes = made(given, kind)
    words = name.replace("_", " ")
    expected = {key: value for key, value in given.items() if key == "units"} | {"long_name": words}
    assert (kept, notes) == ((expected, [NAMED.format(name, why)]) if why else (given, []))
    titled = made({**given, "long_name": "own"}, kind)[0]
    assert titled["long_name"] == "own"
    assert ("standard_name" in titled) is not bool(why)


def test_a_variable_without_a_name_of_cf_gets_its_own_in_words() -> None:
    names = {"speed_of_echo": "speed of echo", "_": "variable", "a\x07b": "a\\x07b"}
    data = {name: ("x", np.zeros(2)) for name in names}
    result = to_cf(xr.Dataset(data), xr.Dataset(), action="make")
    assert {name: result[name].attrs for name in names} == {name: {"long_name": words} for name, words in names.items()}


LEAPS = "units_metadata of t: leap_seconds: unknown"
UTC = {"units_metadata": "leap_seconds: utc"}
UNKNOWN = {"standard_name": "time", "units_metadata": "leap_seconds: unknown"}


@pytest.mark.parametrize(
    ("calendar", "given", "kept", "notes"),
    [
        (None, {}, UNKNOWN, [LEAPS]),
        ("standard", {}, UNKNOWN, [LEAPS]),
        ("gregorian", {}, UNKNOWN, [LEAPS]),
        ("proleptic_gregorian", {}, UNKNOWN, [LEAPS]),
        ("julian", {}, UNKNOWN, [LEAPS]),
        ("noleap", {}, {"standard_name": "time"}, []),
        ("360_day", {"units": "days"}, {"standard_name": "time"}, []),
        (None, UTC, {"standard_name": "time", **UTC}, []),
        (None, {"standard_name": "date", "axis": "T", "long_name": "x"},
         {**UNKNOWN, "axis": "T", "long_name": "x"}, [LEAPS]),
        ("noleap", {"standard_name": "forecast_reference_time"}, {"standard_name": "forecast_reference_time"}, []),
    ],
)  # fmt: skip
def test_times_say_what_they_are_and_how_leap_seconds_count(calendar, given, kept, notes) -> None:
    values = np.array(["2000-01-01", "2000-01-02"], "M8[ns]")
    if calendar is not None:
        values = np.array([cftime.datetime(2000, 1, day, calendar=calendar) for day in (1, 2)])
    result = to_cf(xr.Dataset(coords={"t": ("t", values, given)}), xr.Dataset(), action="make")
    assert (result["t"].attrs, mended(result)) == (kept, notes)
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
    text = "text, which strict CF does not take here"
    assert mended(result) == [
        *(f"{name} dropped: {text}" for name in ("words", "bytes", "objects\\x07", "empty", "lazy", "odd")),
        "square dropped: a repeated dimension",
    ]
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
    assert mended(result) == ["link of a to the absent grid mapping gone\\x07 dropped"]


def test_two_planes_with_two_grid_mappings() -> None:
    second = {"grid_mapping_name": "latitude_longitude", "earth_radius": 6.3e6}
    output = mapped(a="one", other="two").assign(one=((), 0, MAPPING), two=((), 0, second))
    result = to_cf(output, xr.Dataset(), action="make")
    links = [result[name].attrs.get("grid_mapping") for name in ("a", "b", "other", "line")]
    assert links == ["one", "one", "two", None]
    assert (result["one"].attrs, result["two"].attrs) == (MAPPING, second)


def test_global_attributes_and_the_history_word_by_word() -> None:
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
    assert entry.partition(" ")[2] == (
        f"xvar {version}: make\\x07 of a dataset in memory (y: 2, x: 3) id=a\\x1b tracking_id=t uuid=7; "
        "configuration: a\\x1b; mended for CF-1.11: attribute a of f dropped: NoneType; "
        "attribute b of f dropped: NoneType; global attribute bad dropped: NoneType; global attribute 1st dropped: int"
    )
    marks = {"id": "a\\x1b", "uuid": 7, "tracking_id": "t"}
    own = {"title": "xvar make\\x07", "source": f"xvar {version}", "Conventions": "CF-1.11"}
    expected = {**marks, "comment": "output", "references": ["a", "b"], "xvar_note": 1, **own}
    assert result.attrs == expected
    titled = to_cf(output.assign_attrs(title="t", source="s", history="own"), source, action="make")
    assert (titled.attrs["title"], titled.attrs["source"]) == ("t", "s")
    assert titled.attrs["history"].startswith("own\n")
    plain = to_cf(xr.Dataset({"f": ("x", np.zeros(2))}), xr.Dataset(), action="make").attrs["history"]
    assert plain.partition(" ")[2] == f"xvar {version}: make of a dataset in memory ()"


def test_what_was_mended_alike_is_told_once() -> None:
    kept = xr.Dataset({"f": (("y", "x"), np.zeros((2, 3)), {"grid_mapping": "crs"})})
    source = xr.Dataset({"crs": ((), 0, {**MAPPING, "colour": "blue"})})
    note = "attribute colour of crs dropped: no attribute of latitude_longitude"
    assert mended(to_cf(kept.assign(g=kept["f"]), source, action="make")) == [note]
