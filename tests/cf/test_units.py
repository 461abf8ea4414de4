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
from tests.cf.test_axes import images, message
from xvar.cf.units import convert, kind, length_factor, normalise_units, rain_rate_factor, units_of
from xvar.errors import Problems


def test_degree_celsius_is_not_what_udunits_makes_of_it():
    """Fault 37."""
    assert cf_units.Unit("degree Celsius") != cf_units.Unit("degree_Celsius")
    assert "rad" in cf_units.Unit("degree Celsius").definition
    assert normalise_units("degree Celsius") == "degree_Celsius"
    assert units_of(images(units="degree Celsius"), None, Problems()) == "degree_Celsius"
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
    ],
)
def test_table(spelling, meant):
    assert normalise_units(spelling) == meant


@pytest.mark.parametrize("spelling", ["nondimensional", "/s", "frogs per bucket"])
def test_unreadable_units_are_quoted(spelling):
    """Fault 37."""
    problems = Problems()
    assert units_of(images(units=spelling), None, problems) is None
    assert repr(spelling) in message(problems)
    assert 'units="..."' in message(problems)


@pytest.mark.parametrize("attrs", [{}, {"units": " "}])
def test_missing_units(attrs):
    """Fault 31."""
    problems = Problems()
    assert units_of(images(**attrs), None, problems) is None
    text = message(problems)
    assert "variable 'rain'" in text
    assert "mm h-1" in text
    assert 'units="..."' in text


def test_stated_units_mend_missing_ones():
    assert units_of(images(), "degree Celsius", Problems()) == "degree_Celsius"
    problems = Problems()
    assert units_of(images(units="K"), "frogs", problems) is None
    assert "'frogs'" in message(problems)


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
        ("dBZ", 300.0, None),
        ("K", 300.0, None),
        ("1", 300.0, None),
        ("nondimensional", 300.0, None),
    ],
)
def test_rain_rates(units, interval, factor):
    """Fault 34: an amount needs its interval."""
    assert rain_rate_factor(units, interval) == (None if factor is None else pytest.approx(factor, rel=1e-13))


@pytest.mark.parametrize(
    ("units", "factor"),
    [("m", 1.0), ("km", 1000.0), ("meters", 1.0), ("kilometers", 1000.0), ("degrees_east", None), ("1", None)],
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
    with pytest.raises(ValueError, match="cannot convert 'mm h-1' to 'kg m-2 s-1'"):
        convert(1.0, "mm h-1", "kg m-2 s-1")


KINDS = {"radar": "rain", "sst": "temperature", "ocean": "temperature", "currents": "other"}


@pytest.mark.parametrize("file", FILES)
def test_real_files(file, shared_data):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Duplicate dimension names")
        array = xr.open_dataset(shared_data / file)[FILES[file][0]]
    assert kind(array) == KINDS[file.split("-")[0]]
    problems = Problems()
    units = units_of(array, None, problems)
    assert not len(problems)
    if file.startswith("radar"):
        assert rain_rate_factor(units, 300.0) == pytest.approx(0.12 if "meteonet" in file else 1.0, rel=1e-13)


@pytest.mark.parametrize(
    ("name", "attrs", "expected"),
    [
        ("field", {"standard_name": "lwe_precipitation_rate", "units": "m s-1"}, "rain"),
        ("field", {"standard_name": "equivalent_reflectivity_factor", "units": "dBZ"}, "reflectivity"),
        ("field", {"standard_name": "sea_surface_temperature", "units": "K"}, "temperature"),
        ("field", {"standard_name": "tendency_of_air_temperature", "units": "K s-1"}, "other"),
        ("rain", {"standard_name": "eastward_wind", "units": "m s-1"}, "other"),
        ("field", {"units": "dBZ"}, "reflectivity"),
        ("field", {"units": "degC"}, "temperature"),
        ("field", {"units": "mm h-1"}, "rain"),
        ("field", {"units": "m s-1"}, "other"),
        ("rain_rate", {"units": "m s-1"}, "rain"),
        ("rain", {}, "rain"),
        ("rain", {"units": "K"}, "temperature"),
        ("sst", {}, "temperature"),
        ("DBZH", {}, "reflectivity"),
        ("temp", {"units": "1"}, "other"),
        ("training", {"units": "1"}, "other"),
        ("x", {"long_name": "Radar reflectivity"}, "reflectivity"),
    ],
)
def test_kinds(name, attrs, expected):
    assert kind(images(**attrs).rename(name)) == expected
