"""Untidy files: each is analysed, or following the fix of its message gives the analysis of a tidy file."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tests.faults.fixes import alternatives, follow
from tests.faults.images import SIZE, rainy, warm
from xvar.errors import Fault, InputError

Dataset = xr.Dataset
DEGREES = 0.009  # some 1 km


def on_plane() -> Dataset:
    """Temperature on 2-D latitude and longitude, turned against the grid."""
    record = warm().drop_vars(["y", "x"])
    y, x = np.meshgrid(DEGREES * np.arange(SIZE), DEGREES * np.arange(SIZE), indexing="ij")
    turn = np.deg2rad(30)
    return record.assign_coords(
        lat=(("y", "x"), 2 + y * np.cos(turn) + x * np.sin(turn), {"units": "degrees_north"}),
        lon=(("y", "x"), 3 + x * np.cos(turn) - y * np.sin(turn), {"units": "degrees_east"}),
    )


def on_longitudes(longitudes: object) -> Dataset:
    return (
        warm()
        .rename(y="lat", x="lon")
        .assign_coords(
            lat=("lat", DEGREES * np.arange(SIZE), {"units": "degrees_north"}),
            lon=("lon", longitudes, {"units": "degrees_east"}),
        )
    )


def unknown(value: float) -> Callable[[], Dataset]:
    """A corner of the 2-D coordinates holds what was written where nothing was known."""

    def make() -> Dataset:
        record = on_plane()
        for name in ("lat", "lon"):
            record[name].values[:2, :3] = value
        return record

    return make


def dated(spelled: Callable[[pd.DatetimeIndex], object]) -> Callable[[], Dataset]:
    return lambda: warm().assign_coords(time=("time", spelled(pd.DatetimeIndex(warm()["time"].values))))


def with_levels(values: object, nearest: int, **attrs: str) -> Callable[[], Dataset]:
    """Levels of which all but the one nearest the surface hold another image."""

    def make() -> Dataset:
        levels = xr.DataArray(np.asarray(values), dims="level", attrs=attrs)
        there = xr.where(np.arange(levels.size) == nearest, 1.0, np.nan)
        record = warm()
        record["sst"] = (record["sst"] * xr.DataArray(there, dims="level")).assign_attrs(record["sst"].attrs)
        return record.assign_coords(level=levels)

    return make


def filled(value: float) -> Dataset:
    record = rainy()
    record["rain"].values[:, 2:6, 3:7] = value
    return record


def holed() -> Dataset:
    return filled(np.nan)


def without_units() -> Dataset:
    record = on_plane()
    for name in ("lat", "lon"):
        record[name].attrs = {}
    return record


def members() -> Dataset:
    return xr.concat([warm(), warm()], "member")


def across() -> Dataset:
    return on_longitudes((359.9 + DEGREES * np.arange(SIZE)) % 360)


def in_kelvin() -> Dataset:
    record = warm()
    record["sst"].attrs["units"] = "K"  # the numbers stay those of degrees Celsius
    return record


def steps(*coordinates: str) -> Callable[[], Dataset]:
    """A forecast as decoders of GRIB open it: durations, with the time of its start and the valid times where asked."""

    def make() -> Dataset:
        record = warm()
        start, valid = record["time"].values[0], record["time"].values
        record = record.rename(time="step").assign_coords(step=valid - start)
        known = {"time": ((), start), "valid_time": ("step", valid)}
        return record.assign_coords({name: known[name] for name in coordinates})

    return make


#: What is untidy, the file, the tidy file that it represents, and values that a fix asks its owner for.
Case = tuple[str, Callable[[], Dataset], Callable[[], Dataset], dict[str, object]]
CASES: list[Case] = [
    ("2-D positions without units", without_units, on_plane, {}),
    ("unknown positions, the fill value of netCDF", unknown(9.96921e36), on_plane, {}),
    ("unknown positions, -999", unknown(-999.0), on_plane, {}),
    ("unknown positions, 0", unknown(0.0), on_plane, {}),
    ("unknown positions, NaN", unknown(np.nan), on_plane, {}),
    ("positions that nothing calls coordinates", lambda: on_plane().reset_coords(["lat", "lon"]), on_plane, {}),
    ("times as text", dated(lambda times: list(times.strftime("%Y-%m-%d %H:%M"))), warm, {}),
    ("times as text without signs", dated(lambda times: list(times.strftime("%Y%m%d%H%M"))), warm, {}),
    ("times as digits", dated(lambda times: times.strftime("%Y%m%d%H%M").astype("int64")), warm, {}),
    ("times as digits in a float", dated(lambda times: times.strftime("%Y%m%d%H%M%S").astype("float64")), warm, {}),
    ("steps of a forecast with their times", steps("time", "valid_time"), warm, {}),
    ("steps of a forecast and its start", steps("time"), warm, {}),
    ("steps of a forecast", steps(), warm, {}),
    ("a time twice", lambda: xr.concat([warm(), warm().isel(time=[2])], "time").sortby("time"), warm, {}),
    ("times backwards", lambda: warm().isel(time=slice(None, None, -1)), warm, {}),
    ("transposed", lambda: warm().transpose("x", "time", "y"), warm, {}),
    ("a fill value that nobody declared", lambda: filled(-32767.0), holed, {}),
    ("no units", lambda: warm().map(lambda a: a.drop_attrs(deep=False)), warm, {"units": "degree_Celsius"}),
    ("numbers of another unit", in_kelvin, warm, {"units": "degree_Celsius"}),
    ("axes without units", lambda: warm().drop_attrs(), warm, {"dx": 1000.0, "dy": 1000.0, "units": "degree_Celsius"}),
    ("columns sorted across Greenwich", lambda: across().sortby("lon"), across, {}),
    (
        "columns sorted across 180 degrees",
        lambda: on_longitudes((359.9 + DEGREES * np.arange(SIZE)) % 360 - 180).sortby("lon"),
        lambda: on_longitudes(179.9 + DEGREES * np.arange(SIZE)),
        {},
    ),
    ("levels of ROMS", with_levels([-0.9, -0.5, -0.1], 2, positive="up", axis="Z"), warm, {}),
    ("depths downwards", with_levels([0.5, 10.0, 50.0], 0, positive="down", units="m"), warm, {}),
    ("depths upwards", with_levels([-50.0, -10.0, -0.5], 2, positive="up", units="m"), warm, {}),
    ("depths by name", with_levels([50.0, 0.5], 1, standard_name="depth"), warm, {}),
    ("pressures", with_levels([100.0, 500.0, 1000.0], 2, positive="down", units="hPa"), warm, {}),
    ("members", members, warm, {}),
]


def as_it_says(
    record: Dataset, fault: Fault, options: dict[str, object], known: dict[str, object]
) -> tuple[Dataset, dict[str, object]]:
    """Follow the first alternative of a fix, its ``...`` replaced by the value that the owner of the file knows."""
    fix = re.sub(
        r"\b(?P<name>\w+)(?P<sign>'\] = |=)(?:\"\.\.\.\"|\.\.\.)",
        lambda match: f"{match['name']}{match['sign']}{known[match['name']]!r}",
        fault.fix,
    )
    followed = follow(next(alternatives(fix)), record, options)
    assert followed is not None
    return followed


@functools.lru_cache
def tidy(make: Callable[[], Dataset]) -> Dataset:
    return make().var4d.assimilate()


@pytest.mark.parametrize(("make", "expected", "known"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_the_message_alone_is_enough(make, expected, known) -> None:
    record, options = make(), {}
    for _ in range(3):
        try:
            result = record.var4d.assimilate(**options)
        except InputError as error:
            for fault in error.faults:
                record, options = as_it_says(record, fault, options, known)
        else:
            break
    for name in ("u", "v"):
        found, wanted = (r[name].transpose("window", "step", ...).values for r in (result, tidy(expected)))
        np.testing.assert_allclose(found, wanted, atol=0.02 * float(np.abs(tidy(expected)[name]).max()))


def with_quality(**attrs: object) -> Dataset:
    """Pixels of which half are bad, as a file of GHRSST says it."""
    record = warm()
    levels = np.where(np.random.default_rng(0).random(record["sst"].shape) < 0.5, 2, 5).astype("int8")
    words = "no_data bad_data worst_quality low_quality acceptable_quality best_quality"
    given = {"flag_values": np.arange(6, dtype="int8"), "flag_meanings": words, **attrs}
    record["quality_level"] = (record["sst"].dims, levels, given)
    return record


def quality(result: Dataset) -> str:
    (found,) = [n for n in json.loads(result.attrs["xvar_configuration"])["notes"] if n.startswith("quality: ")]
    return str(found)


@pytest.mark.filterwarnings("ignore:.*no value in any frame:xvar.errors.InputWarning")
def test_flags_of_quality_are_named_with_the_line_that_uses_them() -> None:
    record = with_quality()
    result = record.var4d.assimilate()
    text = quality(result)
    assert "isin([4, 5])" in text
    assert text.endswith("keeps acceptable_quality and best_quality")
    scope = {"ds": record.copy()}
    exec(re.findall(r"; (.*\)) keeps", text)[0], scope)
    xr.testing.assert_equal(scope["ds"]["sst"], record["sst"].where(record["quality_level"] >= 4))
    chosen = scope["ds"].var4d.assimilate()
    assert int(chosen["number_of_observations"][0]) < 0.6 * int(result["number_of_observations"][0])
    assert any("quality_level" in note for note in record.var4d.check().facts["notes"])


def test_flags_of_quality_without_known_meanings_are_listed() -> None:
    text = quality(with_quality(flag_meanings="a b c d e f").var4d.assimilate())
    assert "0 = a, 1 = b" in text
    text = quality(with_quality(flag_meanings="good probably_bad").var4d.assimilate())
    assert text.endswith("== ...) keeps its good values")
    alone = with_quality().rename(quality_level="flags")
    assert not [n for n in json.loads(alone.var4d.assimilate().attrs["xvar_configuration"])["notes"] if "quality" in n]
    alone["sst"].attrs["ancillary_variables"] = "flags"
    assert "'flags' is not applied" in quality(alone.var4d.assimilate())
    alone["flags"] = alone["flags"].isel(y=0, x=0)
    assert not [n for n in json.loads(alone.var4d.assimilate().attrs["xvar_configuration"])["notes"] if "flags" in n]
