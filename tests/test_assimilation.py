"""Assimilation through the public call: the output contract row by row, and what must not change it."""

from __future__ import annotations

import warnings

import dask
import dask.array
import numpy as np
import pytest
import xarray as xr

import xvar
from tests.cf.strict import strict_cf
from tests.records import analysis, drifting, storm
from xvar.errors import AnalysisWarning, InputError

EXACT = {"rtol": 1e-8, "atol": 1e-8}
TERMS = ("cost", "cost_background", "cost_observation")


def same_motion(one: xr.Dataset, other: xr.Dataset) -> None:
    for name in ("u", "v"):
        np.testing.assert_allclose(one[name].values, other[name].values, **EXACT)


@pytest.fixture(scope="module")
def small() -> xr.Dataset:
    """The analysis of the small record in double precision."""
    return storm().var4d.assimilate(dtype="float64")


# ---- the output contract


def test_dimensions_and_coordinates() -> None:
    result, radar = analysis(), xvar.datasets.sample()
    for name in ("rain", "u", "v"):
        assert result[name].dims == ("window", "step", "y", "x")
    assert result["rain_observed"].dims == ("window", "y", "x")
    assert result["rain"].shape == (2, 4, 128, 128)
    assert result["time"].dims == ("window", "step")
    np.testing.assert_array_equal(result["time"], radar["time"].values[[[0, 1, 2, 3], [3, 4, 5, 6]]])
    assert result["forecast_reference_time"].dims == ("window",)
    np.testing.assert_array_equal(result["forecast_reference_time"], result["time"][:, -1])
    for name in ("y", "x"):
        np.testing.assert_array_equal(result[name], radar[name])
        assert radar[name].attrs.items() <= result[name].attrs.items()
    assert radar.attrs.items() <= {**result.attrs, **{k: radar.attrs[k] for k in ("history", "Conventions")}}.items()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_types(dtype) -> None:
    result = analysis(dtype)
    for name in ("rain", "u", "v", "rain_observed"):
        assert result[name].dtype == dtype
    assert result["y"].dtype == "float64"
    assert result["time"].dtype.kind == "M"
    assert result["status"].dtype == "int8"
    assert result["stage"].dtype == "int8"
    for name in TERMS:
        assert result[name].dtype == "float64"


def test_attributes() -> None:
    result = analysis()
    assert result["rain"].attrs["units"] == "0.01 mm (5 min)-1"
    for name, along in (("u", "x"), ("v", "y")):
        assert result[name].attrs["units"] == "m s-1"
        assert f"increasing {along}" in result[name].attrs["long_name"]
        assert "standard_name" not in result[name].attrs  # the motion of echoes is no wind
    assert result["stage"].attrs["flag_meanings"] == "background analysis"
    np.testing.assert_array_equal(result["stage"].attrs["flag_values"], np.array([0, 1], "int8"))
    assert result["stage"].attrs["flag_values"].dtype == "int8"
    status = result["status"].attrs
    assert status["flag_meanings"] == "not_run converged not_converged background_only diverged failed ambiguous"
    np.testing.assert_array_equal(status["flag_values"], np.arange(7, dtype="int8"))
    assert result.attrs["Conventions"] == "CF-1.11"
    assert "assimilate" in result.attrs["history"].splitlines()[-1]
    assert result.attrs["history"].startswith(xvar.datasets.sample().attrs["history"])
    assert result["time"].attrs["units_metadata"] == "leap_seconds: unknown"


def test_only_the_analysis_has_the_standard_name_of_the_input() -> None:
    radar = storm()
    radar["rain"].attrs.update(standard_name="lwe_precipitation_rate", units="mm h-1")
    result = radar.var4d.assimilate()
    assert [n for n, v in result.items() if v.attrs.get("standard_name") == "lwe_precipitation_rate"] == ["rain"]


def test_the_last_frame_is_kept_as_it_was_observed() -> None:
    radar = xvar.datasets.sample()
    np.testing.assert_array_equal(analysis()["rain_observed"], radar["rain"].values[[3, 6]])


def test_the_cost_is_the_sum_of_its_terms_and_falls() -> None:
    result = analysis("float64")
    for name in TERMS:
        assert result[name].dims == ("window", "stage")
    parts = sum(result[name] for name in result.data_vars if str(name).startswith("cost_"))
    np.testing.assert_allclose(parts, result["cost"], rtol=1e-12)
    assert (result["cost"][:, 1] < result["cost"][:, 0]).all()
    assert (result["cost"] >= 0).all()
    assert (result["status"] == 1).all()
    assert (result["number_of_observations"] > 0).all()


def test_the_file_is_strict_cf_and_has_no_fill_value_where_none_is_meant(tmp_path) -> None:
    analysis().to_netcdf(tmp_path / "analysis.nc")
    status, words = strict_cf(tmp_path / "analysis.nc")
    assert status == 0, words
    with xr.open_dataset(tmp_path / "analysis.nc", mask_and_scale=False, decode_times=False) as raw:
        for name in ("status", "stage", "evaluations", "number_of_observations", "y", "x", "time"):
            assert "_FillValue" not in raw[name].attrs
    with xr.open_dataset(tmp_path / "analysis.nc") as read:
        xr.testing.assert_equal(read, analysis())


@pytest.mark.parametrize(
    "saved", [("increment",), ("innovation",), ("residual",), ("increment", "innovation", "residual", "cost_history")]
)
def test_what_is_saved_on_request(tmp_path, saved) -> None:
    radar = storm()
    result = radar.var4d.assimilate(save=saved)
    if "residual" in saved:
        expected = radar["rain"].values[None] - result["rain"].values
        np.testing.assert_allclose(result["rain_residual"], expected, atol=1e-4)
    if "innovation" in saved:
        assert result["rain_innovation"].dims == ("window", "step", "y", "x")
        assert not np.isnan(result["rain_innovation"]).any()
    if "increment" in saved:
        assert "u_increment" in result
    result.to_netcdf(tmp_path / "saved.nc")
    status, words = strict_cf(tmp_path / "saved.nc")
    assert status == 0, words


def records_of_descents() -> dict[str, tuple[xr.Dataset, dict]]:
    return {
        "rain": (storm(frames=7), {}),
        "currents": (drifting(), {"constraint": "weak"}),
        "model": (storm(), {"dynamics": "advection", "minimizer": xvar.minimize.LBFGS(max_evaluations=12)}),
    }


@pytest.mark.filterwarnings("ignore::xvar.errors.AnalysisWarning")
@pytest.mark.parametrize("kind", ["rain", "currents", "model"])
def test_a_descent_leads_to_the_cost_and_changes_no_bit(kind, tmp_path) -> None:
    record, options = records_of_descents()[kind]
    plain = record.var4d.assimilate(**options)
    told = record.var4d.assimilate(**options, save=("cost_history",))
    xr.testing.assert_identical(told[list(plain)].drop_attrs(deep=False), plain.drop_attrs(deep=False))
    taken = told["minimisation"] > 0
    np.testing.assert_array_equal(taken.sum("evaluation"), told["evaluations"])
    for name in (str(name) for name in plain if str(name).startswith("cost")):
        cost_history = told[name.replace("cost", "cost_history")]
        assert (cost_history.notnull() == taken).all()
        last = cost_history.isel(evaluation=taken.sum("evaluation") - 1)
        np.testing.assert_allclose(last, plain[name].isel(stage=1), rtol=1e-5)
    # J falls, but where another minimisation begins.
    falls = told["cost_history"].diff("evaluation") <= 0
    begins = told["minimisation"].diff("evaluation") > 0
    assert (falls | begins | ~taken.isel(evaluation=slice(1, None))).all()
    assert told["minimisation"].attrs["flag_meanings"].split()[-1].endswith("whole_grid")
    told.to_netcdf(tmp_path / "told.nc")
    status, words = strict_cf(tmp_path / "told.nc")
    assert status == 0, words


def test_a_cost_history_of_the_shape_of_the_grid_is_no_field() -> None:
    """Six windows of twelve evaluations on a grid of 6 x 12, in descending order of rows and with land."""
    x, y, time = np.arange(12) * 1e3, np.arange(6)[::-1] * 1e3, np.arange(12) * 120.0
    dye = 2 + np.sin((x - time[:, None, None] * 5) / 1.5e3 + y[:, None] / 3e3)
    record = xr.Dataset(
        {"dye": (("time", "y", "x"), dye, {"units": "1"}), "land": (("y", "x"), np.eye(6, 12, dtype=bool))},
        {"time": np.datetime64("2020-01-01", "ns") + (time * 1e9).astype("timedelta64[ns]"), "y": y, "x": x},
    )
    for name in "yx":
        record[name].attrs["units"] = "m"
    options = {"minimizer": xvar.minimize.LBFGS(max_evaluations=12), "save": ("cost_history",)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AnalysisWarning)
        told = record.var4d.assimilate("dye", window=2, stride=2, land="land", **options)
    assert told["cost_history"].shape == told["u"].shape[-2:] == (6, 12)
    np.testing.assert_array_equal(told["cost_history"].notnull().sum("evaluation"), told["evaluations"])
    np.testing.assert_allclose(told["cost_history"].isel(evaluation=0), told["cost"].isel(stage=0), rtol=1e-6)


# ---- what is found


def test_a_known_drift_is_found() -> None:
    result = drifting((10.0, -5.0)).var4d.assimilate(dtype="float64")
    inner = {"y": slice(8, -8), "x": slice(8, -8)}
    for name, expected in (("u", 10.0), ("v", -5.0)):
        error = result[name].isel(step=-1, **inner) - expected
        assert float(np.sqrt((error**2).mean())) < 0.8  # of 11.2 m/s, with the default stopping rule
    assert result["u"].attrs["units"] == "m s-1"


def test_input_stays_as_it_is() -> None:
    radar = storm()
    radar["rain"].encoding = {"dtype": "int16", "scale_factor": 0.1}
    before = radar.copy(deep=True)
    radar.var4d.assimilate(save=("residual",))
    xr.testing.assert_identical(radar, before)
    assert radar["rain"].encoding == {"dtype": "int16", "scale_factor": 0.1}
    assert radar["time"].attrs == before["time"].attrs
    assert radar["time"].encoding == before["time"].encoding


# ---- the same analysis


def test_transposed_dimensions(small) -> None:
    other = storm().transpose("x", "time", "y").var4d.assimilate(dtype="float64")
    same_motion(other, small)


def test_order_of_rows_and_columns(small) -> None:
    turned = storm().isel(y=slice(None, None, -1), x=slice(None, None, -1)).var4d.assimilate(dtype="float64")
    assert turned["y"][0] < turned["y"][-1]
    same_motion(turned.sel(y=small["y"], x=small["x"]), small)


def test_kilometres(small) -> None:
    radar = storm()
    for name in ("y", "x"):
        radar = radar.assign_coords({name: (name, radar[name].values / 1e3, {**radar[name].attrs, "units": "km"})})
    result = radar.var4d.assimilate(dtype="float64")
    same_motion(result, small)
    assert result["y"].attrs["units"] == "km"


def test_byte_order(small) -> None:
    radar = storm()
    radar["rain"] = radar["rain"].copy(data=radar["rain"].values.astype(">f4"))
    radar = radar.assign_coords(y=("y", radar["y"].values.astype(">f8"), radar["y"].attrs))
    same_motion(radar.var4d.assimilate(dtype="float64"), small)


def test_origin_of_time(small) -> None:
    radar = storm()
    later = radar.assign_coords(time=radar["time"] + np.timedelta64(12_345_678, "s"))
    result = later.var4d.assimilate(dtype="float64")
    for name in ("u", "v", "rain"):
        np.testing.assert_array_equal(result[name], small[name])


def test_integers_and_read_only_values(small) -> None:
    radar = storm()
    values = radar["rain"].values.astype("int16")
    values.flags.writeable = False
    same_motion(radar.assign(rain=radar["rain"].copy(data=values)).var4d.assimilate(dtype="float64"), small)


def test_a_data_array_without_its_dataset(small) -> None:
    same_motion(storm()["rain"].var4d.assimilate(dtype="float64"), small)
    assert "variable" in storm()["rain"].rename(None).var4d.assimilate()


def test_spacing_stated_by_the_user(small) -> None:
    radar = storm().isel(y=slice(None, None, -1)).drop_vars(["y", "x"])
    result = radar.var4d.assimilate(dx=1200.0, dy=1200.0, dtype="float64")
    same_motion(result.isel(y=slice(None, None, -1)), small)


# ---- missing values


def test_without_observations_there_is_the_background() -> None:
    radar = storm(frames=7)
    radar["rain"][4:] = np.nan
    result = radar.var4d.assimilate()
    assert int(result["status"][1]) == 3
    assert int(result["number_of_observations"][1]) == 0
    for name in ("u", "v"):
        np.testing.assert_array_equal(result[name][1], 0)
    assert int(result["status"][0]) == 1


def test_nan_pixels_are_not_observed() -> None:
    radar = xvar.datasets.sample().isel(time=slice(0, 4))
    holed = radar.copy(deep=True)
    holed["rain"][1, 40:60, 70:100] = np.nan
    result, whole = holed.var4d.assimilate(), radar.var4d.assimilate()
    assert np.isfinite(result["u"]).all()
    difference = np.hypot(result["u"] - whole["u"], result["v"] - whole["v"])
    assert float(difference.mean()) < 2.0  # of 55 m/s


def test_missing_pixels_are_not_counted() -> None:
    radar = storm()
    whole = int(radar.var4d.assimilate()["number_of_observations"][0])
    radar["rain"][1, 10:15, 10:15] = np.nan
    assert int(radar.var4d.assimilate()["number_of_observations"][0]) == whole - 25


@pytest.mark.parametrize("frame", [0, 1, 2, 3])
def test_a_frame_that_is_missing_altogether(frame) -> None:
    radar = xvar.datasets.sample().isel(time=slice(0, 4))
    radar["rain"][frame] = np.nan
    result = radar.var4d.assimilate()
    assert np.isfinite(result["u"]).all()
    assert 45 < float(result["u"].mean()) < 65


# ---- windows


def test_windows_and_strides() -> None:
    radar = storm(frames=7)
    for options, expected in [
        ({}, [[0, 1, 2, 3], [3, 4, 5, 6]]),
        ({"window": 3}, [[0, 1, 2], [2, 3, 4], [4, 5, 6]]),
        ({"window": 3, "stride": 1}, [[k, k + 1, k + 2] for k in range(5)]),
        ({"window": "10min", "stride": "20min"}, [[0, 1, 2], [4, 5, 6]]),
        ({"window": 5}, [[0, 1, 2, 3, 4]]),
        ({"window": 7}, [[0, 1, 2, 3, 4, 5, 6]]),
    ]:
        result = radar.var4d.assimilate(**options)
        np.testing.assert_array_equal(result["time"], radar["time"].values[np.array(expected)])
    kept = radar.var4d.assimilate(window=5, partial="keep")
    assert kept.sizes["window"] == 2
    assert np.isnat(kept["time"].values[1]).sum() == 2
    assert np.isnan(kept["u"].values[1, 3:]).all()


def test_no_window_reaches_over_a_gap() -> None:
    radar = storm(frames=7)
    later = radar.assign_coords(time=radar["time"].where(np.arange(7) < 4, radar["time"] + np.timedelta64(2, "h")))
    result = later.var4d.assimilate(window=3)
    spans = result["time"].values[:, -1] - result["time"].values[:, 0]
    assert (spans == np.timedelta64(10, "m")).all()


def test_a_window_alone_has_the_bits_that_it_has_in_a_batch() -> None:
    radar = storm(frames=7)
    both = radar.var4d.assimilate()
    second = radar.isel(time=slice(3, 7)).var4d.assimilate()
    for name in ("u", "v", "rain", "cost"):
        np.testing.assert_array_equal(second[name][0], both[name][1])


# ---- lazy input


def test_lazy_input_computes_nothing_and_gives_the_same_bits() -> None:
    radar = storm(frames=7)
    eager = radar.var4d.assimilate()
    computed = []

    def counting(graph, keys, **options):
        computed.append(len(graph))
        return dask.get(graph, keys, **options)

    with dask.config.set(scheduler=counting):
        lazy = radar.chunk(time=2, y=20).var4d.assimilate()
        forecast = lazy.var4d.forecast("10min")
    assert computed == []
    assert isinstance(lazy["u"].data, dask.array.Array)
    assert isinstance(forecast["rain"].data, dask.array.Array)
    result = lazy.compute(scheduler="synchronous")
    for name in eager.data_vars:
        np.testing.assert_array_equal(result[name], eager[name])
        assert result[name].dtype == eager[name].dtype
    np.testing.assert_array_equal(
        forecast["rain"].compute(scheduler="synchronous"), eager.var4d.forecast("10min")["rain"]
    )


# ---- refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"windw": 3}, "did you mean 'window'"),
        ({"window": 9}, "at most 4 frames"),
        ({"window": 1}, "at least 2 frames"),
        ({"window": "soon"}, "window='soon'"),
        ({"dtype": "float16"}, "dtype='float16'"),
        ({"errors": "ignore"}, "errors='ignore'"),
        ({"partial": "some"}, "partial='some'"),
        ({"batch": 0}, "batch=0"),
        ({"save": "residual"}, r"save=\('residual',\)"),
        ({"variable": "rian"}, "did you mean 'rain'"),
    ],
)
def test_options_are_refused_with_what_was_meant(options, message) -> None:
    with pytest.raises(InputError, match=message):
        storm().var4d.assimilate(**options)


def test_all_problems_are_in_one_report() -> None:
    radar = storm().drop_vars("x")
    radar["rain"].attrs.pop("units")
    with pytest.raises(InputError) as report:
        radar.var4d.assimilate(dtype="float16", errors="ignore")
    text = str(report.value)
    assert len(report.value.faults) == 4
    for word in ("'x'", "units", "float16", "ignore"):
        assert word in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.isel(time=[0]), "at least 2 frames"),
        (lambda d: d.isel(time=0), "with time, y and x dimensions"),
        (lambda d: d.where(d["rain"] > 1e9), "no finite value"),
        (lambda d: d.isel(time=[0, 2, 1, 3]), "ascending times"),
        (lambda d: d.isel(time=[0, 1, 1, 2]), "each time once"),
        (lambda d: d.assign(rain=d["rain"].astype(str)), "numeric|numbers"),
        (lambda d: d.drop_vars(["x", "y"]), "dx="),
    ],
)
def test_records_that_cannot_be_used_are_refused(change, message) -> None:
    with pytest.raises(InputError, match=message):
        change(storm()).var4d.assimilate()
