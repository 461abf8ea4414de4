"""Each score against an answer known by hand or by a computation of its own; pairs by time."""

from __future__ import annotations

import contextlib
import dataclasses

import numpy as np
import pytest
import xarray as xr

import xvar
from tests.cf.strict import strict_cf
from tests.faults.codes import codes
from xvar.analysis.verify import verify
from xvar.analysis.verify.events import parse_length
from xvar.errors import Faults, InputError
from xvar.plan.configuration import Configuration

START = np.datetime64("2020-01-01T00:00", "ns")
MINUTE = np.timedelta64(60 * 10**9, "ns")
SIDE = 2000.0  # metres between points


def configuration(variable="rain", kind="rain", frame=300.0):
    """Configuration of an analysis; scores read only these fields."""
    known = {"variable": variable, "kind": kind, "transform": "none", "frame": frame, "interval": frame}
    required = [part.name for part in dataclasses.fields(Configuration) if part.default is dataclasses.MISSING]
    others = {name: None for name in required if name not in known and name != "notes"}
    return Configuration(**known, **others).to_json()


def plane(ny, nx, descending=False):
    y = np.arange(ny) * SIDE
    return {
        "y": ("y", y[::-1] if descending else y, {"units": "m", "standard_name": "projection_y_coordinate"}),
        "x": ("x", np.arange(nx) * SIDE, {"units": "m", "standard_name": "projection_x_coordinate"}),
    }


def make_forecast(values, *, units="mm h-1", name="rain", kind="rain", reference=None, leads=None, frame=300.0):
    """A forecast (window, lead_time, y, x), windows ten minutes apart, leads of five."""
    values = np.asarray(values)
    windows, steps, ny, nx = values.shape
    lead = (np.arange(1, steps + 1) * 5 if leads is None else np.array(leads)) * MINUTE
    reference = START + np.arange(windows) * 10 * MINUTE if reference is None else np.array(reference)
    return xr.Dataset(
        {name: (("window", "lead_time", "y", "x"), values, {"units": units})},
        {
            **plane(ny, nx),
            "lead_time": ("lead_time", lead, {"standard_name": "forecast_period"}),
            "time": (("window", "lead_time"), reference[:, None] + lead, {"standard_name": "time"}),
            "forecast_reference_time": ("window", reference, {"standard_name": "forecast_reference_time"}),
        },
        {"xvar_configuration": configuration(name, kind, frame)},
    )


def make_truth(values, *, units="mm h-1", name="rain", minutes=None):
    """A record (time, y, x), a frame each five minutes from the first reference time."""
    values = np.asarray(values)
    minutes = np.arange(len(values)) * 5 if minutes is None else np.array(minutes)
    return xr.Dataset(
        {name: (("time", "y", "x"), values, {"units": units})},
        {**plane(*values.shape[1:]), "time": ("time", START + minutes * MINUTE, {"standard_name": "time"})},
    )


@contextlib.contextmanager
def refused(code):
    """Expect an InputError of one fault with this code."""
    with pytest.raises(InputError) as error:
        yield error
    assert codes(error.value) == [code]


@pytest.fixture
def fields():
    """Forecasts of two windows at two leads, and the five true frames from 0 to 20 minutes."""
    random = np.random.default_rng(0)
    return random.gamma(0.5, 4, (2, 2, 8, 9)), random.gamma(0.5, 4, (5, 8, 9))


# Window 0 begins at frame 0 (0 min), window 1 at frame 2 (10 min); lead 1 and 2 are 5 and 10 minutes.
FRAME = np.array([[1, 2], [3, 4]])


def test_continuous_scores_are_those_of_their_formulas(fields) -> None:
    values, frames = fields
    scores = verify(make_forecast(values), make_truth(frames))
    truth = frames[FRAME]
    difference = values - truth
    np.testing.assert_allclose(scores["rmse"], np.sqrt((difference**2).mean(axis=(0, 2, 3))), rtol=1e-12)
    np.testing.assert_allclose(scores["rmse_by_window"], np.sqrt((difference**2).mean(axis=(2, 3))), rtol=1e-12)
    np.testing.assert_allclose(scores["bias"], difference.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(scores["mae_by_window"], abs(difference).mean(axis=(2, 3)), rtol=1e-12)
    for lead in range(2):
        expected = np.corrcoef(values[:, lead].ravel(), truth[:, lead].ravel())[0, 1]
        np.testing.assert_allclose(scores["correlation"][lead], expected, rtol=1e-12)
    kept = frames[[0, 2]][:, None] - truth
    np.testing.assert_allclose(scores["rmse_persistence"], np.sqrt((kept**2).mean(axis=(0, 2, 3))), rtol=1e-12)
    np.testing.assert_allclose(scores["rmse_persistence_by_window"], np.sqrt((kept**2).mean(axis=(2, 3))), rtol=1e-12)
    assert scores["rmse"].dims == ("lead_time",)
    assert scores["rmse_by_window"].dims == ("window", "lead_time")
    assert (scores["number_of_pairs"] == 2 * 72).all()
    assert (scores["number_without_truth"] == 0).all()


def test_the_pooled_rmse_is_the_root_of_the_pooled_mean_square() -> None:
    values = np.zeros((2, 1, 4, 4))
    values[1] = 2.0
    scores = verify(make_forecast(values), make_truth(np.zeros((5, 4, 4))))
    np.testing.assert_allclose(scores["rmse_by_window"][:, 0], [0, 2])
    np.testing.assert_allclose(scores["rmse"], np.sqrt(2))


def test_events_are_counted_at_and_above_the_threshold() -> None:
    forecast, truth = np.zeros((1, 1, 4, 4)), np.zeros((2, 4, 4))
    forecast[0, 0, 0] = [1, 1, 1, 0.99]  # two hits, one false alarm
    truth[1, 0, :2] = 1
    truth[1, 1, :3] = 7  # three misses
    scores = verify(make_forecast(forecast), make_truth(truth), thresholds=[1])
    counts = {name: int(scores[name][0, 0]) for name in ("hits", "misses", "false_alarms", "correct_negatives")}
    assert counts == {"hits": 2, "misses": 3, "false_alarms": 1, "correct_negatives": 10}
    for name, expected in {"csi": 2 / 6, "pod": 2 / 5, "far": 1 / 3}.items():
        np.testing.assert_allclose(scores[name].values, [[expected]])
        np.testing.assert_allclose(scores[f"{name}_by_window"].values, [[[expected]]])
    assert scores["csi"].dims == ("lead_time", "threshold")
    np.testing.assert_allclose(scores["csi_persistence"].values, [[0]])  # the first frame is dry
    assert scores["threshold"].attrs["units"] == "mm h-1"


def brute_fss(forecast, truth, limit, rows, columns):
    """By the definition, square by square; forecasts (case, y, x)."""
    error = reference = 0.0
    for one, other in zip(forecast, truth, strict=True):
        for i in range(one.shape[0] - rows + 1):
            for j in range(one.shape[1] - columns + 1):
                p = np.sum(one[i : i + rows, j : j + columns] >= limit)
                q = np.sum(other[i : i + rows, j : j + columns] >= limit)
                error += (p - q) ** 2
                reference += p**2 + q**2
    return 1 - error / reference


@pytest.mark.parametrize(("scale", "points"), [("6km", 3), (4000, 2), ("10e3 m", 5), ("100 m", 1)])
def test_fss_is_that_of_a_count_square_by_square(fields, scale, points) -> None:
    values, frames = fields
    scores = verify(make_forecast(values), make_truth(frames), thresholds=(0.5, 5), scale=scale)
    truth = frames[FRAME]
    for number, limit in enumerate((0.5, 5)):
        for lead in range(2):
            expected = brute_fss(values[:, lead], truth[:, lead], limit, points, points)
            np.testing.assert_allclose(scores["fss"][lead, number], expected, rtol=1e-12)
            for window in range(2):
                expected = brute_fss(values[[window], lead], truth[[window], lead], limit, points, points)
                np.testing.assert_allclose(scores["fss_by_window"][window, lead, number], expected, rtol=1e-12)
            expected = brute_fss(frames[[0, 2]], truth[:, lead], limit, points, points)
            np.testing.assert_allclose(scores["fss_persistence"][lead, number], expected, rtol=1e-12)
    assert float(scores["scale"]) == {"6km": 6000, 4000: 4000, "10e3 m": 10000, "100 m": 100}[scale]


def test_without_an_event_there_is_no_score() -> None:
    scores = verify(make_forecast(np.zeros((1, 1, 4, 4))), make_truth(np.zeros((2, 4, 4))), scale="1km")
    for name in ("csi", "pod", "far", "fss"):
        assert np.isnan(scores[name]).all()
    assert (scores["correct_negatives"] == 16).all()


def test_values_missing_in_either_are_not_counted(fields) -> None:
    values, frames = (part.copy() for part in fields)
    values[0, 0, :3] = np.nan
    frames[1, :, 4:] = np.nan  # the truth of window 0, lead 0
    frames[3, 0, 0] = np.inf
    scores = verify(make_forecast(values), make_truth(frames), thresholds=(1,), scale="1km")
    paired = np.isfinite(values) & np.isfinite(frames[FRAME])
    with np.errstate(invalid="ignore"):
        squares = np.where(paired, (values - np.where(paired, frames[FRAME], 0)) ** 2, 0)
    np.testing.assert_array_equal(scores["number_of_pairs_by_window"], paired.sum(axis=(2, 3)))
    np.testing.assert_array_equal(scores["number_of_pairs"], paired.sum(axis=(0, 2, 3)))
    expected = np.sqrt(squares.sum(axis=(0, 2, 3)) / paired.sum(axis=(0, 2, 3)))
    np.testing.assert_allclose(scores["rmse"], expected, rtol=1e-12)
    total = sum(scores[name] for name in ("hits", "misses", "false_alarms", "correct_negatives"))
    np.testing.assert_array_equal(total[:, 0], scores["number_of_pairs"])


def test_pairs_are_made_by_time_and_the_rest_is_counted(fields) -> None:
    values, frames = fields
    whole = verify(make_forecast(values), make_truth(frames))
    # Frame 3 (15 min) is missing, the others are out of order.
    truth = make_truth(frames).isel(time=[4, 0, 2, 1])
    scores = verify(make_forecast(values), truth)
    np.testing.assert_array_equal(scores["number_without_truth"], [1, 0])
    np.testing.assert_allclose(scores["rmse"][1], whole["rmse"][1], rtol=1e-12)
    np.testing.assert_allclose(scores["rmse"][0], whole["rmse_by_window"][0, 0], rtol=1e-12)
    assert np.isnan(scores["rmse_by_window"][1, 0])
    assert int(scores["number_of_pairs_by_window"][1, 0]) == 0


def test_nothing_is_interpolated(fields) -> None:
    values, frames = fields
    forecast = make_forecast(values, leads=[4, 6])
    with refused("no-common-time"):
        verify(forecast, make_truth(frames))
    scores = verify(make_forecast(values, leads=[4, 10]), make_truth(frames))
    np.testing.assert_array_equal(scores["number_without_truth"], [2, 0])


def test_without_the_last_observed_frame_there_is_no_persistence(fields) -> None:
    values, frames = fields
    scores = verify(make_forecast(values), make_truth(frames).isel(time=[1, 3]))
    assert not [name for name in scores if "persistence" in str(name)]
    half = verify(make_forecast(values), make_truth(frames).isel(time=[1, 2, 3]))
    assert np.isnan(half["rmse_persistence_by_window"][0]).all()
    np.testing.assert_allclose(half["rmse_persistence"][0], half["rmse_persistence_by_window"][1, 0])


def test_thresholds_of_amounts_are_in_millimetres_per_hour() -> None:
    # 0.01 mm in 5 minutes are 0.12 mm/h: 4 is 0.48 and 5 is 0.6.
    forecast, truth = np.zeros((1, 1, 4, 4), "float32"), np.zeros((2, 4, 4), "int16")
    forecast[0, 0, 0], truth[1, 0] = [4, 5, 8, 9], [5, 5, 5, 5]
    for units in ("0.01 mm (5 min)-1", "1e-5 m"):
        scores = verify(make_forecast(forecast, units=units), make_truth(truth, units=units), thresholds=(0.5, 1))
        np.testing.assert_array_equal(scores["hits"].values, [[3, 0]])
        np.testing.assert_array_equal(scores["misses"].values, [[1, 0]])
        np.testing.assert_array_equal(scores["false_alarms"].values, [[0, 1]])
        assert scores["rmse"].attrs["units"] == units


def test_single_precision_does_not_decide_what_is_at_a_threshold() -> None:
    values = np.full((1, 1, 4, 4), 0.7, "float32")
    scores = verify(make_forecast(values), make_truth(np.full((2, 4, 4), 0.7)), thresholds=(0.7,), scale="1km")
    assert int(scores["hits"][0, 0]) == 16


@pytest.mark.parametrize("units", ["m s-1", "kg m-2 s-1", "cm h-1"])
def test_the_truth_may_be_in_other_units(fields, units) -> None:
    values, frames = fields
    factor = {"m s-1": 1 / 3.6e6, "kg m-2 s-1": 1 / 3600, "cm h-1": 0.1}[units]
    same = verify(make_forecast(values), make_truth(frames))
    other = verify(make_forecast(values), make_truth(frames * factor, units=units, name="precipitation"))
    xr.testing.assert_allclose(
        other[["rmse", "csi", "fss", "rmse_persistence"]], same[["rmse", "csi", "fss", "rmse_persistence"]]
    )


def test_points_are_matched_by_their_coordinates(fields) -> None:
    values, frames = fields
    same = verify(make_forecast(values), make_truth(frames))
    turned = make_truth(frames).isel(y=slice(None, None, -1)).transpose("x", "time", "y")
    kilometres = turned.assign_coords(x=("x", turned["x"].values / 1e3, {"units": "km"}))
    larger = make_truth(np.pad(frames, ((0, 0), (0, 3), (0, 2)), constant_values=99.0))
    for truth in (turned, kilometres, larger, make_truth(frames)["rain"]):
        other = verify(make_forecast(values), truth)
        for name in same.data_vars:
            np.testing.assert_array_equal(other[name], same[name])


def test_other_points_are_refused_with_their_distance(fields) -> None:
    values, frames = fields
    truth = make_truth(frames)
    with refused("other-points") as error:
        verify(make_forecast(values), truth.assign_coords(y=truth["y"] + 250.0))
    assert error.value.faults[0].dimension == "y"
    assert "250 m" in error.value.faults[0].found
    with refused("other-points") as error:
        verify(make_forecast(values), truth.isel(x=slice(0, -2)))
    assert error.value.faults[0].dimension == "x"
    assert "4000 m" in error.value.faults[0].found


def test_each_window_by_itself_and_all_of_them(fields) -> None:
    values, frames = fields
    forecast, truth = make_forecast(values), make_truth(frames)
    both = verify(forecast, truth)
    single = verify(forecast.isel(window=1), truth)
    np.testing.assert_array_equal(single["rmse"], both["rmse_by_window"][1])
    lead = verify(forecast.isel(lead_time=1), truth)
    np.testing.assert_array_equal(lead["rmse"], both["rmse"][1:])


def test_other_variables_have_events_only_where_thresholds_are_given(fields) -> None:
    values, frames = fields
    forecast = make_forecast(values, units="degree_Celsius", name="sst", kind="temperature")
    truth = make_truth(frames + 273.15, units="K", name="sst")
    scores = verify(forecast, truth)
    assert "csi" not in scores
    assert "thresholds=" in scores.attrs["comment"]
    assert scores["rmse"].attrs["units_metadata"] == "temperature: difference"
    np.testing.assert_allclose(scores["bias"], (values - frames[FRAME]).mean(axis=(0, 2, 3)), atol=1e-9)
    warm = verify(forecast, truth, thresholds=(3.0,), scale="2km")
    expected = ((values >= 3) & (frames[FRAME] >= 3)).sum(axis=(0, 2, 3))
    np.testing.assert_array_equal(warm["hits"][:, 0], expected)
    assert warm["threshold"].attrs["units"] == "degree_Celsius"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"thresholds": ("much",)}, "thresholds-invalid"),
        ({"thresholds": (np.nan,)}, "thresholds-invalid"),
        ({"scale": "10 apples"}, "not-a-length"),
        ({"scale": -5}, "not-a-length"),
        ({"scale": "100km"}, "scale-too-large"),
    ],
)
def test_options_without_a_meaning_are_refused(fields, options, code) -> None:
    values, frames = fields
    with refused(code):
        verify(make_forecast(values), make_truth(frames), **options)


def test_a_domain_smaller_than_the_default_square_has_no_fss() -> None:
    forecast, truth = make_forecast(np.ones((1, 1, 4, 4))), make_truth(np.ones((2, 4, 4)))
    scores = verify(forecast, truth)
    assert "fss" not in scores
    assert "csi" in scores
    assert "scale=" in scores.attrs["comment"]
    with refused("scale-too-large"):
        verify(forecast, truth, scale="11km")


def test_rain_without_a_rate_is_refused(fields) -> None:
    values, frames = fields
    forecast, truth = make_forecast(values, units="1"), make_truth(frames, units="1")
    with refused("rain-without-rate"):
        verify(forecast, truth)
    assert "rmse" in verify(forecast, truth, thresholds=())


def test_other_inputs_than_a_forecast_and_its_truth_are_refused(fields) -> None:
    values, frames = fields
    truth = make_truth(frames)
    with refused("not-a-result"):
        verify(truth, truth)
    bare = make_forecast(values)
    bare.attrs = {}
    with refused("not-a-forecast"):
        verify(bare, truth)
    wind = truth.rename(rain="wind").assign(wind=lambda d: d["wind"].assign_attrs(units="m"))
    with refused("truth-variable-missing") as error:
        verify(make_forecast(values), wind)
    assert "'wind'" in error.value.faults[0].found
    with refused("different-units"):
        verify(make_forecast(values), make_truth(frames, units="K"))


def test_all_faults_are_in_one_report(fields) -> None:
    values, frames = fields
    truth = make_truth(frames)
    with pytest.raises(InputError) as report:
        verify(make_forecast(values), truth.assign_coords(y=truth["y"] + 300.0), thresholds=("much",), scale="far")
    assert codes(report.value) == ["thresholds-invalid", "not-a-length", "other-points"]


def test_lengths() -> None:
    faults = Faults()
    assert [parse_length(value, "scale", faults) for value in ("10km", "2.5 km", 300, "500m")] == [
        1e4,
        2500,
        300,
        500,
    ]
    assert not len(faults)


def test_inputs_stay_as_they_are(fields) -> None:
    values, frames = fields
    forecast, truth = make_forecast(values), make_truth(frames)
    before = forecast.copy(deep=True), truth.copy(deep=True)
    verify(forecast, truth)
    xr.testing.assert_identical(forecast, before[0])
    xr.testing.assert_identical(truth, before[1])


def test_lazy_inputs_give_the_same(fields) -> None:
    values, frames = fields
    eager = verify(make_forecast(values), make_truth(frames))
    lazy = verify(make_forecast(values).chunk(window=1), make_truth(frames).chunk(time=2))
    for name in eager.data_vars:
        np.testing.assert_array_equal(lazy[name], eager[name])


def test_a_forecast_of_the_storm_from_a_file(tmp_path) -> None:
    radar = xvar.datasets.sample()
    forecast = radar.var4d.assimilate().var4d.forecast("15min")
    scores = forecast.var4d.verify(radar)
    forecast.to_netcdf(tmp_path / "forecast.nc")
    with xr.open_dataset(tmp_path / "forecast.nc") as read:
        again = read.var4d.verify(radar)
    xr.testing.assert_equal(again, scores)
    # The second window has no truth.
    np.testing.assert_array_equal(scores["number_without_truth"], [1, 1, 1])
    assert (scores["rmse"] < 0.7 * scores["rmse_persistence"]).all()
    assert scores["lead_time"].dtype == "timedelta64[ns]"
    scores.to_netcdf(tmp_path / "scores.nc")
    status, words = strict_cf(tmp_path / "scores.nc")
    assert status == 0, words


# ---- ensembles


MEMBERS = 6


@pytest.fixture
def ensemble():
    """An ensemble (window, member, lead, y, x) with rain at some points, its forecast Dataset, and the true frames."""
    random = np.random.default_rng(3)
    values = random.gamma(0.5, 4, (2, MEMBERS, 2, 8, 9)).round()
    values[:, :, :, :2] = 0
    frames = random.gamma(0.5, 4, (5, 8, 9)).round()
    frames[:, :1] = 0
    forecast = make_forecast(values[:, 0])
    forecast["rain"] = (("window", "member", "lead_time", "y", "x"), values, {"units": "mm h-1"})
    return values, forecast, frames


def brute_crps(members, seen, pairs):
    """By the definition, a sum over all pairs of members."""
    apart = abs(members[:, None] - members[None]).sum(axis=(0, 1)) / (2 * pairs)
    return (abs(members - seen).mean(axis=0) - apart).mean()


def test_scores_of_an_ensemble_are_those_of_their_formulas(ensemble) -> None:
    values, forecast, frames = ensemble
    scores = verify(forecast, make_truth(frames), thresholds=(1, 5))
    truth = frames[FRAME]
    for lead in range(2):
        members, seen = np.moveaxis(values[:, :, lead], 1, 0), truth[:, lead]
        np.testing.assert_allclose(scores["crps"][lead], brute_crps(members, seen, MEMBERS**2))
        np.testing.assert_allclose(scores["crps_fair"][lead], brute_crps(members, seen, MEMBERS * (MEMBERS - 1)))
        for window in range(2):
            expected = brute_crps(members[:, window], seen[window], MEMBERS**2)
            np.testing.assert_allclose(scores["crps_by_window"][window, lead], expected)
        mean = members.mean(axis=0)
        np.testing.assert_allclose(scores["rmse"][lead], np.sqrt(((mean - seen) ** 2).mean()))
        np.testing.assert_allclose(scores["bias"][lead], (mean - seen).mean())
        variance = ((members - mean) ** 2).sum(axis=0).mean() / (MEMBERS - 1)
        np.testing.assert_allclose(scores["spread"][lead] ** 2, variance * (MEMBERS + 1) / MEMBERS)
        kept = abs(frames[[0, 2]] - seen).mean()
        np.testing.assert_allclose(scores["crps_skill"][lead], 1 - scores["crps"][lead] / kept)
        for number, limit in enumerate((1, 5)):
            share, event = (members >= limit).mean(axis=0), seen >= limit
            brier = ((share - event) ** 2).mean()
            np.testing.assert_allclose(scores["brier"][lead, number], brier)
            np.testing.assert_allclose(
                scores["brier_skill"][lead, number], 1 - brier / (event.mean() * (~event).mean())
            )
            above = share[event][:, None] > share[~event]
            ties = share[event][:, None] == share[~event]
            np.testing.assert_allclose(scores["roc_area"][lead, number], above.mean() + ties.mean() / 2)
            for count in range(MEMBERS + 1):
                chosen = (members >= limit).sum(axis=0) == count
                np.testing.assert_allclose(scores["forecast_frequency"][lead, number, count], chosen.mean())
                if chosen.any():
                    frequency = event[chosen].mean()
                    np.testing.assert_allclose(scores["observed_frequency"][lead, number, count], frequency)
    np.testing.assert_allclose(scores["probability"], np.arange(MEMBERS + 1) / MEMBERS)


def test_ties_have_a_share_in_all_their_ranks_and_equal_members_none() -> None:
    values = np.array([[0.0, 1.0, 2.0], [0.0, 3.0, 2.0]])  # member, point
    truth = np.array([0.0, 2.0, 2.0])  # all equal; between; all equal
    forecast = make_forecast(np.zeros((1, 1, 4, 6)))
    members = np.stack([values, values], axis=1).reshape(1, 2, 1, 2, 3)
    members[0, 1, 0, 1] = [1.0, 3.0, 4.0]  # one tie below, between, one tie below
    members = np.tile(members, (2, 2))
    forecast["rain"] = (("window", "member", "lead_time", "y", "x"), members, {"units": "mm h-1"})
    frames = np.tile(np.broadcast_to(truth, (2, 2, 3)), (2, 2))
    scores = verify(forecast, make_truth(frames))
    # Points by rank: two between (rank 2); two with a tie in the least member (ranks 1 and 2, by halves).
    np.testing.assert_allclose(scores["rank_histogram"][0], [1 / 4, 3 / 4, 0])
    np.testing.assert_allclose(scores["reliability_index"], [1 / 12 + 5 / 12 + 1 / 3])


def test_a_reliable_ensemble_has_a_flat_histogram_and_as_much_spread_as_error() -> None:
    random = np.random.default_rng(4)
    centre = random.normal(size=(1, 1, 80, 90))
    truth = centre[0] + random.normal(size=(1, 80, 90))
    forecast = make_forecast(centre, units="degree_Celsius", name="sst", kind="temperature")
    values = centre[:, None] + random.normal(size=(1, 10, 1, 80, 90))
    forecast["sst"] = (("window", "member", "lead_time", "y", "x"), values, {"units": "degree_Celsius"})
    frames = np.concatenate([truth, truth])
    scores = verify(forecast, make_truth(frames, units="degree_Celsius", name="sst"), thresholds=(0.5,))
    np.testing.assert_allclose(scores["spread_over_error"], 1, atol=0.03)
    assert float(scores["reliability_index"][0]) < 0.1
    reliable = scores["observed_frequency"][0, 0] - scores["probability"] * 10 / 11 - 0.5 / 11
    assert float(abs(reliable).max()) < 0.12  # Laplace's rule of succession


def test_an_ensemble_without_truth_or_values_is_counted(ensemble) -> None:
    values, forecast, frames = ensemble
    holes = forecast.copy(deep=True)
    holes["rain"][0, 2, 0, :3] = np.nan  # unknown in one member
    scores = verify(holes, make_truth(frames).isel(time=[0, 1, 2, 4]))
    np.testing.assert_array_equal(scores["number_of_pairs_by_window"], [[45, 72], [0, 72]])
    np.testing.assert_array_equal(scores["number_without_truth"], [1, 0])
    expected = brute_crps(values[0, :, 0, 3:], frames[1, 3:], MEMBERS**2)
    np.testing.assert_allclose(scores["crps"][0], expected)
    assert np.isnan(scores["crps_by_window"][1, 0])


def test_the_scores_of_an_ensemble_are_strict_cf(ensemble, tmp_path) -> None:
    _, forecast, frames = ensemble
    verify(forecast, make_truth(frames)).to_netcdf(tmp_path / "scores.nc")
    status, words = strict_cf(tmp_path / "scores.nc")
    assert status == 0, words
    lazy = verify(forecast.chunk(window=1), make_truth(frames))
    xr.testing.assert_equal(lazy, verify(forecast, make_truth(frames)))


# ---- motion against true velocities


def make_analysis(u, v):
    windows, steps, ny, nx = u.shape
    times = START + (np.arange(windows)[:, None] * 10 + np.arange(steps) * 5) * MINUTE
    dims = ("window", "step", "y", "x")
    return xr.Dataset(
        {"u": (dims, u, {"units": "m s-1"}), "v": (dims, v, {"units": "m s-1"})},
        {
            **plane(ny, nx),
            "time": (("window", "step"), times, {"standard_name": "time"}),
            "forecast_reference_time": ("window", times[:, -1], {"standard_name": "forecast_reference_time"}),
        },
        {"xvar_configuration": configuration("sst", "temperature")},
    )


def make_currents(u, v, units="m s-1"):
    truth = make_truth(u, units=units, name="u")
    return truth.assign(v=(truth["u"].dims, v, {"units": units}))


def test_motion_scores_are_those_of_their_formulas(tmp_path) -> None:
    random = np.random.default_rng(1)
    u, v = random.normal(size=(2, 2, 2, 6, 7))
    true_u, true_v = random.normal(size=(2, 4, 6, 7))
    true_u[1, :, :2] = np.nan  # land
    u[0, 0, 3, 3] = np.nan
    scores = verify(make_analysis(u, v), make_currents(100 * true_u, 100 * true_v, "cm s-1"))
    frame = np.array([[0, 1], [2, 3]])
    error = np.hypot(u - true_u[frame], v - true_v[frame])
    np.testing.assert_allclose(scores["end_point_error"], np.nanmean(error, axis=(0, 2, 3)))
    np.testing.assert_allclose(scores["end_point_error_by_window"], np.nanmean(error, axis=(2, 3)))
    np.testing.assert_allclose(scores["vector_rmse"], np.sqrt(np.nanmean(error**2, axis=(0, 2, 3))))
    turn = np.angle((true_u + 1j * true_v)[frame] * (u - 1j * v), deg=True)
    np.testing.assert_allclose(scores["angular_error"], np.nanmean(abs(turn), axis=(0, 2, 3)))
    np.testing.assert_array_equal(scores["number_of_pairs"], np.isfinite(error).sum(axis=(0, 2, 3)))
    w, w_true = (u + 1j * v)[:, 1], (true_u + 1j * true_v)[frame[:, 1]]
    both = np.isfinite(w + w_true)
    w, w_true = w[both] - w[both].mean(), w_true[both] - w_true[both].mean()
    expected = (w * w_true.conj()).sum().real / np.sqrt((abs(w) ** 2).sum() * (abs(w_true) ** 2).sum())
    np.testing.assert_allclose(scores["vector_correlation"][1], expected)
    scores.to_netcdf(tmp_path / "scores.nc")
    status, words = strict_cf(tmp_path / "scores.nc")
    assert status == 0, words


def test_a_quarter_turn_is_ninety_degrees() -> None:
    one, none = np.ones((1, 2, 4, 4)), np.zeros((1, 2, 4, 4))
    truth = make_currents(np.zeros((2, 4, 4)), np.ones((2, 4, 4)))
    scores = verify(make_analysis(one, none), truth)
    np.testing.assert_allclose(scores["angular_error"], 90)
    np.testing.assert_allclose(scores["end_point_error"], np.sqrt(2))
    still = verify(make_analysis(none, none), truth)
    assert np.isnan(still["angular_error"]).all()
    np.testing.assert_allclose(still["end_point_error"], 1)


def test_true_velocities_may_be_steady_or_found_by_standard_name() -> None:
    u, v = np.random.default_rng(2).normal(size=(2, 1, 2, 5, 5))
    steady = make_currents(np.ones((1, 5, 5)), np.zeros((1, 5, 5))).isel(time=0, drop=True)
    named = steady.rename(u="eau", v="flot")
    named["eau"].attrs["standard_name"] = "surface_sea_water_x_velocity"
    named["flot"].attrs["standard_name"] = "y_sea_water_velocity"
    expected = np.hypot(u - 1, v).mean(axis=(0, 2, 3))
    for truth in (steady, named):
        np.testing.assert_allclose(verify(make_analysis(u, v), truth)["end_point_error"], expected)


def test_velocities_along_other_axes_are_refused() -> None:
    u = np.ones((1, 2, 4, 4))
    truth = make_currents(np.ones((2, 4, 4)), np.ones((2, 4, 4)))
    truth["u"].attrs["standard_name"] = "eastward_sea_water_velocity"
    analysis = make_analysis(u, u)
    analysis["u"].attrs["long_name"] = "motion of sst, towards increasing x"
    with refused("different-axes"):
        verify(analysis, truth)
    with refused("truth-variable-missing"):
        verify(analysis, make_currents(np.ones((2, 4, 4)), np.ones((2, 4, 4))).drop_vars("v"))
    with refused("truth-not-a-dataset"):
        verify(analysis, truth["u"])


def test_images_verify_a_forecast() -> None:
    u = np.ones((1, 2, 4, 4))
    analysis = make_analysis(u, u).assign(rain_observed=(("window", "y", "x"), u[:, 0]))
    with pytest.raises(InputError) as error:
        verify(analysis, make_truth(np.ones((2, 4, 4))))
    assert codes(error.value) == 2 * ["truth-variable-missing"]
    assert "forecast(" in error.value.faults[0].fix
