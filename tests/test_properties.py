"""Whatever arrives in another guise is the same record: the same analysis, up to the symmetry that is stated."""

from __future__ import annotations

import functools

import cftime
import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.faults.codes import raised
from tests.faults.images import warm
from xvar.cf.grid import HorizontalGrid
from xvar.cf.times import parse_duration
from xvar.cf.units import convert, spelled
from xvar.errors import AnalysisWarning, Faults, InputError, InputWarning
from xvar.plan.bridge import Bridge
from xvar.quality.rules import Screen, fill_value, undeclared_fill

# Each example is an analysis or two: a quarter of what other properties get, 10 800 in all in the thorough profile.
quick = settings(max_examples=settings.default.max_examples // 4, suppress_health_check=[HealthCheck.too_slow])
quiet = pytest.mark.filterwarnings(
    f"ignore::{AnalysisWarning.__module__}.{AnalysisWarning.__name__}",
    f"ignore::{InputWarning.__module__}.{InputWarning.__name__}",
)
SIZE = 24
CALENDARS = ("standard", "noleap", "360_day", "julian", "all_leap")
UNITS = {"degree_Celsius": 0.0, "K": 273.15, "degree Celsius": 0.0, "celsius": 0.0}


def analysis_or_message(record: xr.Dataset, **options: object) -> tuple[xr.Dataset | None, str]:
    """An analysis, or what is wrong with the input; any other error goes on."""
    try:
        return record.var4d.assimilate(**options), ""
    except InputError as error:
        return None, str(error)


@functools.lru_cache
def expected() -> xr.Dataset:
    return warm().var4d.assimilate(dtype="float64")


@st.composite
def guises(draw) -> tuple[xr.Dataset, float]:
    """The drifting record in another guise, and the tolerance in m/s of what it says of the motion."""
    record, tolerance = warm(), 1e-6
    units = draw(st.sampled_from(sorted(UNITS)))
    attrs = {**record["sst"].attrs, "units": units}
    dtype = draw(st.sampled_from(["float64", ">f8", "float32", ">f4", "longdouble"]))
    if dtype in ("float32", ">f4") or UNITS[units]:
        tolerance = 0.05  # the image itself is rounded
    record["sst"] = (record["sst"] + UNITS[units]).astype(dtype).assign_attrs(attrs)
    for dim in ("y", "x"):
        if draw(st.booleans()):
            km = record[dim].values / 1e3
            record = record.assign_coords(
                {dim: (dim, km, {**record[dim].attrs, "units": draw(st.sampled_from(["km", "kilometers"]))})}
            )
        if draw(st.booleans()):
            record = record.isel({dim: slice(None, None, -1)})
    seconds = 120 * np.arange(4)
    calendar = draw(st.sampled_from(CALENDARS))
    start = draw(st.sampled_from(["1850-01-01", "1999-12-30 23:58:00", "2024-02-28 23:57:00"]))
    record = record.assign_coords(time=("time", cftime.num2date(seconds, f"seconds since {start}", calendar)))
    if draw(st.booleans()):
        record = record.rename(dict(zip(("time", "y", "x"), ("ocean_time", "south_north", "west_east"), strict=True)))
    order = draw(st.permutations(list(record["sst"].dims)))
    record["sst"] = record["sst"].transpose(*order)
    if draw(st.booleans()):
        record = record.expand_dims("level")
    return record, tolerance


@quick
@given(guises())
def test_a_guise_changes_nothing(guise) -> None:
    record, tolerance = guise
    before = record.copy(deep=True)
    result = record.var4d.assimilate(dtype="float64")
    xr.testing.assert_identical(record, before)
    names = [dim for dim in result["u"].dims if dim not in ("window", "step")]
    for dim in names:
        result = result.sortby(dim)
    for name in ("u", "v"):
        np.testing.assert_allclose(result[name].values, expected()[name].values, atol=tolerance)
    assert (
        result["time"].values[0, 0]
        == record[record["sst"].dims[[d in ("time", "ocean_time") for d in record["sst"].dims].index(True)]].values[0]
    )


@quick
@given(st.integers(1, 4), st.integers(1, SIZE), st.integers(1, SIZE), st.booleans())
def test_chunks_change_no_bit(time, rows, columns, flipped) -> None:
    import dask

    record = warm().isel(y=slice(None, None, -1 if flipped else 1))
    with dask.config.set(scheduler="synchronous"):
        lazy = record.chunk(time=time, y=rows, x=columns).var4d.assimilate(dtype="float64").compute()
    np.testing.assert_allclose(lazy.sortby("y")["u"], expected()["u"], atol=1e-6)
    assert (lazy["status"] == 1).all()


@quiet
@quick
@given(st.data())
def test_what_is_missing_is_never_a_number(data) -> None:
    """NaN in any pattern: a finite motion everywhere, and no NaN becomes an observation."""
    record = warm()
    values = record["sst"].values
    share = data.draw(st.sampled_from([0.0, 0.1, 0.5, 0.9, 0.99]))
    generator = np.random.default_rng(data.draw(st.integers(0, 999)))
    values[generator.random(values.shape) < share] = np.nan
    for frame in data.draw(st.sets(st.integers(0, 3), max_size=4)):
        values[frame] = np.nan
    if data.draw(st.booleans()):
        values[:, : data.draw(st.integers(1, SIZE - 1))] = np.nan
    if not np.isfinite(values).any():
        raised(record.var4d.assimilate, "no-values")
        return
    result = record.var4d.assimilate()
    assert np.isfinite(result["u"].values).all()
    assert int(result["number_of_observations"][0]) <= np.isfinite(values).sum()
    assert int(result["status"][0]) in (1, 2, 3)


@quiet
@quick
@given(
    st.sampled_from([np.inf, -np.inf, 1e30, -1e30, -9999.0, 9.96921e36, 1e20]),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, SIZE - 1), st.integers(0, SIZE - 1)), min_size=1, max_size=9),
)
def test_gross_errors_are_refused_or_count_as_missing(value, places) -> None:
    record, holed = warm(), warm()
    for place in places:
        record["sst"][place], holed["sst"][place] = value, np.nan
    result, text = analysis_or_message(record, dtype="float64")
    if result is None:
        assert "undeclared _FillValue" in text
        return
    np.testing.assert_array_equal(result["u"], holed.var4d.assimilate(dtype="float64")["u"])
    assert int(result["number_of_rejected_observations"][0]) == len(set(places))


names = st.text(st.characters(codec="utf-8"), max_size=12)
values = st.one_of(
    names,
    st.integers(-(2**31), 2**31),
    st.floats(),
    st.booleans(),
    st.none(),
    st.lists(st.integers(-9, 9), max_size=3),
    st.binary(max_size=5),
    st.dictionaries(names, st.integers(), max_size=2),
)
KEYS = ("units", "standard_name", "long_name", "axis", "positive", "calendar", "grid_mapping", "coordinates", "bounds")
KEYS += (
    "flag_values",
    "flag_meanings",
    "cell_methods",
    "_FillValue",
    "scale_factor",
    "valid_range",
    "ancillary_variables",
)


@quiet
@quick
@given(
    st.dictionaries(st.one_of(st.sampled_from(KEYS), names), values, max_size=4),
    st.sampled_from(["sst", "y", "time", None]),
)
def test_attributes_of_any_kind_give_an_analysis_or_an_input_error(attrs, where) -> None:
    record = warm()
    target = record if where is None else record[where]
    target.attrs = {**target.attrs, **attrs}
    result, text = analysis_or_message(record)
    if result is None:
        assert "; fix: " in text
        assert all(c.isprintable() or c == "\n" for c in text)
        return
    for variable in (result, *result.variables.values()):
        for key, value in variable.attrs.items():
            assert not any(ord(c) < 32 and c != "\n" for c in f"{key}{value}")
    assert np.isfinite(result["u"]).all()


@quick
@given(st.integers(2, 9), st.integers(2, 9), st.booleans(), st.booleans())
def test_the_bridge_there_and_back(rows, columns, up, right) -> None:
    grid = HorizontalGrid((rows, columns), (1.0, 1.0), None, (up, right), "index", False, "")
    given_values = np.random.default_rng(0).normal(size=(2, 3, rows, columns))
    bridge = Bridge(grid, None, "float64")
    tensor = bridge.tensor(given_values)
    assert tensor[:, :, 0, 0].tolist() == given_values[:, :, 0 if up else -1, 0 if right else -1].tolist()
    tensor += 1
    np.testing.assert_array_equal(bridge.array(tensor), given_values + 1)
    assert tensor.is_contiguous()


@quick
@given(
    st.floats(-200, 2000),
    st.sampled_from(["K", "degree_Celsius", "degree_Fahrenheit"]),
    st.sampled_from(["K", "celsius"]),
)
def test_units_there_and_back(value, source, target) -> None:
    for difference in (False, True):
        there = convert(value, source, target, difference=difference)
        assert convert(there, target, source, difference=difference) == pytest.approx(value, abs=1e-9)
    assert convert(0.0, source, target, difference=True) == 0


@quick
@given(st.text(max_size=20))
def test_any_text_is_a_duration_or_a_problem(text) -> None:
    faults = Faults()
    seconds = parse_duration(text, "lead", faults)
    assert (seconds is None) == (len(faults) == 1)
    assert seconds is None or seconds > 0


@quick
@given(
    st.lists(st.floats(-98, 98, width=32), min_size=4, max_size=30),  # none that files write for missing
    st.sampled_from([-9999.0, 1e20, -32768.0]),
    st.integers(0, 4),
)
def test_fill_values_are_found_where_several_stand_apart(numbers, fill, count) -> None:
    frame = np.array([*numbers, *[fill] * count], dtype="float32")
    assert undeclared_fill(frame) == (fill if count > 1 else None)
    assume(count > 1)
    np.testing.assert_array_equal(fill_value(frame, Screen("a", "other")), frame == np.float32(fill))


@pytest.mark.parametrize(
    "units", ["kilogram / meter ** 2 / second", "millimeter / hour", "degree_Celsius", "dimensionless"]
)
def test_spellings_of_pint(units) -> None:
    from xvar.cf.units import is_parsable

    assert is_parsable(spelled(units))
