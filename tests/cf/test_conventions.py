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
from xvar.cf.conventions import finish, for_writing, identity

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
    result = finish(KINDS[what](source, name), source, action=f'assimilate("{name}")', configuration="window=3")

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
    """Written, checked and read."""
    dataset.to_netcdf(path / "strict.nc")
    code, complaints = strict_cf(path / "strict.nc")
    assert code == 0, complaints
    with xr.open_dataset(path / "strict.nc", decode_timedelta=True) as read:
        return read.load()


def finished(source: xr.Dataset = RECORD, name: str = "sst", **changes: object) -> xr.Dataset:
    return finish(analysis(source, name).assign(**changes), source, action="assimilate")


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
    result = finish(
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
        result = finish(output, source, action="assimilate")
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
    result = finish(analysis(source, "sst"), source, action="assimilate\n\x07", configuration="window=3")
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
    result = finish(output, source, action="assimilate")
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
    read = strict(finish(output, source, action="assimilate"), tmp_path)
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
    result = finish(output, source, action="assimilate")
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
        result = finish(lazy, RECORD, action="assimilate")
    assert result.sst.chunks is not None


def test_finishing_again_changes_nothing_but_the_history():
    once = finished()
    twice = finish(once, RECORD, action="forecast")
    xr.testing.assert_identical(once.assign_attrs(history=""), twice.assign_attrs(history=""))
    assert len(twice.attrs["history"].splitlines()) == len(once.attrs["history"].splitlines()) + 1


def test_a_dataset_without_fields_is_enough(tmp_path):
    result = finish(xr.Dataset({"rmse": ("lead_time", np.ones(2), {"units": "K"})}), RECORD, action="verify")
    assert result.rmse.attrs["long_name"] == "rmse"
    strict(result, tmp_path)


def test_units_that_are_the_same_stay_as_they_are_written(tmp_path):
    written = {"a": "m/s", "b": "m s**-1", "c": "meter", "d": "percent"}
    fields = {
        name: RECORD.sst.isel(time=0, drop=True).drop_attrs(deep=False).assign_attrs(units=units, long_name=name)
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
    result = finish(source[["sst"]].assign(late=late), source, action="assimilate")
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
