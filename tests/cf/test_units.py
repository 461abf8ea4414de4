"""Units mean what the file meant, not what UDUNITS makes of a misspelling."""

from __future__ import annotations

import warnings

import cf_units
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from tests.cf.outputs import FILES
from tests.cf.places import places
from tests.cf.test_axes import images
from xvar.cf.units import (
    are_convertible,
    convert,
    length_factor,
    normalise_units,
    rain_rate_factor,
    same_units,
    units_of,
)
from xvar.errors import Faults


def test_degree_celsius_is_not_what_udunits_makes_of_it():
    """Fault 37."""
    assert cf_units.Unit("degree Celsius") != cf_units.Unit("degree_Celsius")
    assert "rad" in cf_units.Unit("degree Celsius").definition
    assert normalise_units("degree Celsius") == "degree_Celsius"
    assert units_of(images(units="degree Celsius"), None, Faults()) == "degree_Celsius"
    assert convert(20.0, "degree Celsius", "K") == pytest.approx(293.15, abs=1e-12)


@pytest.mark.parametrize("spelling", ["Celsius", "celsius", "deg C", "degrees C", "C", "degC", "degrees_celsius", "°C"])
def test_spellings_of_celsius(spelling):
    assert cf_units.Unit(normalise_units(spelling)) == cf_units.Unit("degree_Celsius")


@pytest.mark.parametrize(
    ("spelling", "meant"),
    [
        ("degrees East", "degrees_east"),
        ("degrees North", "degrees_north"),
        ("Degree_North", "Degree_North"),
        ("meters", "m"),
        ("kilometers", "km"),
        ("mm/5min", "mm (5 min)-1"),
        (" mm h-1 ", "mm h-1"),
        ("Kelvin", "K"),
        ("dbz", "dBZ"),
        ("psu", "1e-3"),
        ("  degrees \t NORTH ", "degrees_north"),
        ("mm / 5 min", "mm (5 min)-1"),
        ("millimeters/10min", "mm (10 min)-1"),
        ("kg m-2/1h", "kg m-2 (1 h)-1"),
        ("0.1 mm/2hr", "0.1 mm (2 hr)-1"),
        ("mm/30s", "mm (30 s)-1"),
        ("mm/day", "mm/day"),
        ("mm/min", "mm/min"),
        ("MM  H-1", "MM  H-1"),
    ],
)
def test_table(spelling, meant):
    assert normalise_units(spelling) == meant


@pytest.mark.parametrize(
    ("units", "interval", "factor"),
    [
        ("mm h-1", None, 1.0),
        ("mm/h", None, 1.0),
        ("m s-1", None, 3.6e6),
        ("kg m-2 s-1", None, 3600.0),
        ("kg m-2 s-1", 300.0, 3600.0),
        ("0.01 mm (5 min)-1", None, 0.12),
        ("mm/5min", None, 12.0),
        ("1e-5 m", 300.0, 0.12),
        ("mm", 300.0, 12.0),
        ("mm", 3600.0, 1.0),
        ("kg m-2", 600.0, 6.0),
        ("inch", 3600.0, 25.4),
        ("mm", None, None),
        ("mm", 0.0, None),
        ("mm", -300.0, None),
        ("mm", np.nan, None),
        ("kg m-2", None, None),
        ("kg m-2", 0.5, 7200.0),
        ("0.07 mm", 1.0, 252.00000000000003),
        ("dBZ", 300.0, None),
        ("K", 300.0, None),
        ("1", 300.0, None),
        ("nondimensional", 300.0, None),
    ],
)
def test_rain_rates(units, interval, factor):
    """Fault 34: an amount needs its interval."""
    assert rain_rate_factor(units, interval) == factor


@pytest.mark.parametrize(
    ("units", "factor"),
    [
        ("m", 1.0),
        ("km", 1000.0),
        ("meters", 1.0),
        ("kilometers", 1000.0),
        ("degrees_east", None),
        ("1", None),
        ("0.07 km", 70.0),
        ("frogs", None),
    ],
)
def test_lengths(units, factor):
    assert length_factor(units) == factor


@given(st.floats(-1e4, 1e4), st.sampled_from(["K", "degree_Celsius", "degree_Fahrenheit"]))
def test_differences_of_temperature_have_no_offset(value, units):
    """Fault 36: a standard deviation of 1 K is one of 1 degree Celsius."""
    scale = 5 / 9 if units == "degree_Fahrenheit" else 1.0
    assert convert(value, units, "K", difference=True) == pytest.approx(value * scale, rel=1e-9, abs=1e-9)
    there = convert(value, units, "K")
    assert convert(there, "K", units) == pytest.approx(value, rel=1e-9, abs=1e-9)


def test_conversion_of_arrays_and_of_what_cannot_be():
    np.testing.assert_allclose(convert(np.array([0.0, 10.0]), "Celsius", "K"), [273.15, 283.15], rtol=1e-15)
    with pytest.raises(ValueError, match="cannot convert"):
        convert(1.0, "mm h-1", "kg m-2 s-1")


@pytest.mark.parametrize("file", FILES)
def test_real_files(file, shared_data):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Duplicate dimension names")
        array = xr.open_dataset(shared_data / file)[FILES[file][0]]
    faults = Faults()
    units = units_of(array, None, faults)
    assert not len(faults)
    if file.startswith("radar"):
        assert rain_rate_factor(units, 300.0) == pytest.approx(0.12 if "meteonet" in file else 1.0, rel=1e-13)


@pytest.mark.parametrize(
    ("units", "stated", "code"),
    [
        (None, None, "units-missing"),
        (" ", None, "units-missing"),
        ("K", "", "units-missing"),
        *(
            (units, None, "units-unreadable")
            for units in ("nondimensional", "/s", "frogs per bucket", "unknown", "no_unit")
        ),
        ("K", "frogs", "units-unreadable"),
        ("degrees C", "kelvin", "units-contradicted"),
        ("dbz", "mm/h", "units-contradicted"),
        ("dbz", "mm", "units-contradicted"),
        ("dBZ", "K", "units-contradicted"),
        ("mm", "mm h-1", "units-contradicted"),
    ],
)
def test_faults_of_units(units, stated, code):
    """Faults 31 and 37. Reflectivity that is called rain is converted by xvar.rain_rate."""
    faults = Faults()
    assert units_of(images(**({} if units is None else {"units": units})), stated, faults) is None
    assert places(faults) == [(code, "rain")]
    assert ("rain_rate" in faults.first.fix) is (units == "dbz")


@pytest.mark.parametrize(
    ("attrs", "stated", "meant"),
    [
        ({"units": " deg C "}, None, "degree_Celsius"),
        ({}, "degree Celsius", "degree_Celsius"),
        ({"units": " "}, "K", "K"),
        ({"units": "frogs"}, "K", "K"),
        ({"units": "kelvin"}, "K", "K"),
        ({"units": "m/s"}, "m s-1", "m s-1"),
        ({"units": 1}, None, "1"),
    ],
)
def test_units_as_the_file_or_the_user_states_them(attrs, stated, meant):
    faults = Faults()
    assert units_of(images(**attrs), stated, faults) == meant
    assert not len(faults)


@pytest.mark.parametrize(
    ("first", "second", "same", "convertible"),
    [
        ("m s-1", "m/s", True, True),
        ("K", "degree_Celsius", False, True),
        ("m", "km", False, True),
        ("m", "s", False, False),
        ("kelvin", "kelvins", True, True),
        ("Degrees C", "kelvins", False, True),
        ("m", "frogs", False, False),
        ("frogs", "m", False, False),
        ("frogs", "frogs", False, False),
        ("unknown", "unknown", False, False),
    ],
)
def test_units_that_mean_the_same(first, second, same, convertible):
    assert same_units(first, second) is same
    assert are_convertible(first, second) is convertible


@pytest.mark.parametrize("difference", [False, True])
def test_conversion_keeps_the_shape_and_counts_in_float64(difference):
    one = convert(np.float32(1.5), "km", "meters", difference=difference)
    assert type(one) is float
    assert one == 1500.0
    many = convert(np.array([[1], [2]], "i2"), "km", "meters", difference=difference)
    assert many.dtype == np.float64
    np.testing.assert_array_equal(many, [[1000.0], [2000.0]])
    for pair in (("m", "s"), ("frogs", "m"), ("m", "frogs")):
        with pytest.raises(ValueError, match="cannot convert"):
            convert(1.0, *pair, difference=difference)
