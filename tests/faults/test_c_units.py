"""C. Units and packing."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xvar
from tests.faults.codes import raised
from tests.faults.images import rainy, small, warm
from tests.faults.shell import refused_by_shell
from tests.faults.table import fault, note, notes
from xvar import rain_rate
from xvar.covariance import Matern
from xvar.errors import InputWarning
from xvar.minimize import LBFGS


def first_frame(record: xr.Dataset, **attrs: str) -> xr.Dataset:
    """The first frame as a background, its attributes changed."""
    (name,) = record.data_vars
    frame = record[name].isel(time=0, drop=True)
    return frame.assign_attrs(attrs).to_dataset()


@fault(31, "no units", "refused; `units=` asserts them")
def test_missing_units() -> str:
    record = rainy()
    del record["rain"].attrs["units"]
    note(record.var4d.assimilate(units="mm h-1"), "as stated by units=")
    raised(lambda: rainy().var4d.assimilate(units="m s-1"), "units-contradicted", variable="rain")
    return raised(record.var4d.assimilate, "units-missing", variable="rain")


@small
@fault(32, "mm/h against m s-1", "converted, and written in history")
def test_rates() -> str:
    background = first_frame(rainy())
    metres = first_frame(rainy(), units="m s-1")
    metres["rain"] = metres["rain"].astype("float64") / 3.6e6
    metres["rain"].attrs["units"] = "m s-1"
    # A few evaluations: the last bits of the two backgrounds differ, and a cost_history makes ever more of that.
    few = xvar.minimize.LBFGS(max_evaluations=5)
    one, other = (
        rainy().var4d.assimilate(dynamics="advection", background=b, dtype="float64", minimizer=few)
        for b in (background, metres)
    )
    np.testing.assert_allclose(one["u"], other["u"], atol=1e-2)
    assert "converted from 'm s-1' to 'mm h-1'" in other.attrs["history"]
    truth = rainy(7)
    forecast = truth.isel(time=slice(0, 4)).var4d.assimilate().var4d.forecast("10min")
    in_metres = (truth / 3.6e6).assign_attrs(truth.attrs)
    in_metres["rain"].attrs["units"] = "m s-1"
    np.testing.assert_allclose(
        forecast.var4d.verify(in_metres)["rmse"], forecast.var4d.verify(truth)["rmse"], rtol=1e-5
    )
    return note(other, "converted")


@small
@fault(
    33,
    "mm/h against kg m-2 s-1",
    "refused: the density is the user's to state, by `xvar.rain_rate(flux, convert='liquid_water')`",
)
def test_rates_and_fluxes() -> str:
    background = first_frame(rainy(), units="kg m-2 s-1")
    background["rain"] = (background["rain"].astype("float64") / 3600).assign_attrs(units="kg m-2 s-1")
    raised(lambda: rain_rate(background["rain"]), "units-not-convertible", variable="rain")
    raised(
        lambda: rain_rate(background["rain"].assign_attrs(units="mm h-1"), convert="liquid_water"),
        "units-not-convertible",
        variable="rain",
    )
    raised(
        lambda: rain_rate(background["rain"].assign_attrs(units="dBZ"), convert="liquid_water"),
        "units-not-convertible",
        variable="rain",
    )
    stated = rain_rate(background["rain"], convert="liquid_water").to_dataset(name="rain")
    np.testing.assert_allclose(stated["rain"], rainy()["rain"][0], rtol=1e-6)
    assert (stated["rain"].attrs["units"], stated["rain"].attrs["standard_name"]) == ("mm h-1", "rainfall_rate")
    rainy().var4d.assimilate(dynamics="advection", background=stated)
    return raised(
        lambda: rainy().var4d.assimilate(dynamics="advection", background=background),
        "units-not-convertible",
        variable="background rain",
    )


@small
@pytest.mark.filterwarnings("ignore:dimension 'time'. frame:xvar.errors.InputWarning")
@fault(
    34,
    "amounts of rain over an interval",
    "handled: they keep their units; thresholds in mm h-1 are met by the interval over which they fell, as it is stated or regular, and refused where it is neither",
)
def test_amounts() -> str:
    record = rainy(7)
    record["rain"] = (record["rain"] / 12).assign_attrs(units="mm", long_name="rain")
    analysis = record.isel(time=slice(0, 4)).var4d.assimilate()
    assert analysis["rain"].attrs["units"] == "mm"
    scores = analysis.var4d.forecast("10min").var4d.verify(record, thresholds=[1.0])
    rates = (
        rainy(7)
        .isel(time=slice(0, 4))
        .var4d.assimilate()
        .var4d.forecast("10min")
        .var4d.verify(rainy(7), thresholds=[1.0])
    )
    np.testing.assert_allclose(scores["csi"], rates["csi"], atol=0.02)
    assert scores["threshold"].attrs["units"] == "mm h-1"
    # A frame that is missing leaves the interval what it is; frames at odd times say nothing of it.
    minutes = np.array([0, 5, 10, 20, 25, 30, 35])
    start = record["time"].values[0]
    gap, odd = (
        record.assign_coords(time=start + m.astype("timedelta64[m]"))
        for m in (minutes, np.array([0, 5, 12, 15, 20, 25, 30]))
    )
    assert gap.isel(time=slice(0, 3)).var4d.assimilate().var4d.forecast("10min").var4d.verify(gap)["csi"].size
    forecast = odd.isel(time=slice(0, 4)).var4d.assimilate().var4d.forecast("5min")
    stated = odd.copy()
    stated["rain"].attrs["cell_methods"] = "time: sum (interval: 5 minutes)"
    scored = stated.isel(time=slice(0, 4)).var4d.assimilate().var4d.forecast("5min").var4d.verify(stated)
    assert scored["threshold"].attrs["units"] == "mm h-1"
    assert forecast.var4d.verify(odd, thresholds=()).attrs
    return raised(lambda: forecast.var4d.verify(odd), "rain-without-rate", variable="rain")


@fault(
    35,
    "dBZ where rain is asked for",
    "refused; `xvar.rain_rate` is the explicit Z-R relation, reflectivity goes as itself",
)
def test_reflectivity() -> str:
    rain = rainy(7)
    echoes = (10 * np.log10(200 * rain["rain"].clip(min=0.05) ** 1.6)).assign_attrs(units="dBZ").to_dataset(name="DBZH")
    assert (echoes.isel(time=slice(0, 4)).var4d.assimilate()["status"] == 1).all()
    back = rain_rate(echoes["DBZH"])
    np.testing.assert_allclose(back.where(rain["rain"] > 0.05), rain["rain"].where(rain["rain"] > 0.05), rtol=1e-4)
    assert (back.attrs["units"], back.attrs["standard_name"]) == ("mm h-1", "rainfall_rate")
    assert "Z = 200 R^1.6" in back.attrs["comment"]
    assert (back.isel(time=slice(0, 4)).var4d.assimilate()["status"] == 1).all()
    none = xr.DataArray([-np.inf, np.nan, 70.0, 53.0], attrs={"units": "dBZ"})
    np.testing.assert_allclose(rain_rate(none), [0, np.nan, *[(10**5.3 / 200) ** (1 / 1.6)] * 2])
    raised(lambda: rain_rate(rain["rain"]), "units-not-convertible", variable="rain")
    forecast = rain.isel(time=slice(0, 4)).var4d.assimilate().var4d.forecast("10min")
    raised(lambda: forecast.var4d.verify(echoes["DBZH"]), "different-units")
    raised(
        lambda: rain.var4d.assimilate(dynamics="advection", background=first_frame(rain, units="dBZ")),
        "units-not-convertible",
        variable="background rain",
    )
    return raised(lambda: echoes.var4d.assimilate(units="mm h-1"), "units-contradicted", variable="DBZH")


@fault(
    36,
    "degree_Celsius against K",
    "converted on its scale; an error of observation as a difference, without the offset",
)
def test_temperatures() -> str:
    kelvin = warm()
    kelvin["sst"] = (kelvin["sst"] + 273.15).assign_attrs(kelvin["sst"].attrs, units="K")
    background = first_frame(warm())
    error = xr.DataArray(0.2, attrs={"units": "degree_Celsius"})
    options = {"dtype": "float64", "observation_error": error, "background_error": Matern(std=2.0, length=20e3)}
    expected = warm().var4d.assimilate(dynamics="advection", background=background, **options)
    result = kelvin.var4d.assimilate(dynamics="advection", background=background, **options)
    np.testing.assert_allclose(result["u"], expected["u"], atol=0.1)
    np.testing.assert_allclose(result["cost"], expected["cost"], rtol=1e-3)
    np.testing.assert_allclose(result["sst"] - 273.15, expected["sst"], atol=1e-2)
    assert "observation_error converted from 'degree_Celsius' to 'K', as a difference" in notes(result)
    for record, wrong in ((kelvin, "deg C"), (warm(), "K")):  # the values of one scale, the units of the other
        record["sst"].attrs["units"] = wrong
        found = raised(record.var4d.assimilate, "values-of-other-units", variable="sst")
        assert "ds['sst'].attrs['units'] = " in found.faults[0].fix
        assert "..." not in found.faults[0].fix
    return note(result, "background sst converted")


@fault(37, "spellings of units", "fixed by a table and recorded; what UDUNITS cannot read is refused and quoted")
def test_spellings() -> str:
    record = warm()
    record["sst"].attrs["units"] = "degree Celsius"
    result = record.var4d.assimilate()
    assert result["sst"].attrs["units"] == "degree_Celsius"
    note(result, "units 'degree Celsius' read as 'degree_Celsius'")
    record["sst"].attrs["units"] = "nondimensional"
    return raised(record.var4d.assimilate, "units-unreadable", variable="sst")


@fault(38, "packed integers that were not decoded", "refused")
def test_not_decoded() -> str:
    record = warm()
    record["sst"] = (record["sst"] * 100).astype("int16").assign_attrs(record["sst"].attrs, scale_factor=0.01)
    return raised(record.var4d.assimilate, "not-decoded", variable="sst")


@fault(39, "packing that the input was read with", "dropped: outputs are written in the solved precision")
def test_inherited_packing(tmp_path) -> str:
    record = rainy()
    record["rain"].encoding = {"dtype": "int16", "scale_factor": 0.01, "_FillValue": -1}
    record.to_netcdf(tmp_path / "packed.nc")
    with xr.open_dataset(tmp_path / "packed.nc") as packed:
        assert packed["rain"].encoding["dtype"] == np.int16
        result = packed.var4d.assimilate()
    result.to_netcdf(tmp_path / "analysis.nc")
    with xr.open_dataset(tmp_path / "analysis.nc") as read:
        xr.testing.assert_equal(read, result)
        return f"type of 'rain' in the file: {read['rain'].encoding['dtype']}"


def packed(raw: np.ndarray, **attrs: object) -> xr.Dataset:
    """Reflectivity in the bytes of a radar file, decoded."""
    attrs = {"units": "dBZ", "scale_factor": 0.5, "add_offset": -32.0, **attrs}
    return xr.decode_cf(xr.Dataset({"DBZH": (("time", "y", "x"), raw, attrs)}, rainy().coords))


@fault(
    40,
    "nodata and undetect of ODIM",
    "nodata is missing, undetect a value: no rain, or the least reflectivity; where a file declares neither, what stands for them is missing, with a warning and a count",
)
def test_nodata_and_undetect() -> str:
    long = {"dtype": "float64", "minimizer": LBFGS(max_evaluations=300)}
    raw = (2 * (rainy()["rain"] + 1)).round().clip(max=200).astype("uint8").values
    raw[0, :4, :4], raw[:, 20:, 20:] = 255, 0
    expected = packed(raw, _FillValue=np.uint8(255)).var4d.assimilate(**long)
    assert int(expected["number_of_rejected_observations"][0]) == 0
    assert (expected["status"] == 1).all()
    declared = packed(raw, _Nodata=255.0, undetect=0.0).var4d.assimilate(**long)
    np.testing.assert_array_equal(declared["u"], expected["u"])
    note(declared, "nodata of 95.5 taken as missing")
    note(declared, "undetect of -32 is -32")
    floats = packed(raw, _FillValue=np.uint8(255))
    values = floats["DBZH"].fillna(-9999000.0)
    values = values.where(values != -32, -8888000.0)
    floats["DBZH"] = values.assign_attrs(units="dBZ", nodata=-9999000.0, undetect=-8888000.0)
    for record in (floats, floats.chunk(time=1)):
        again = record.var4d.assimilate(**long).compute()
        np.testing.assert_allclose(again["u"], expected["u"], atol=1e-6)
    rain = rainy().assign(rain=rainy()["rain"].where(rainy()["rain"] > 0.2, -1.0))
    rain["rain"].attrs = {**rainy()["rain"].attrs, "undetect": -1.0}
    note(rain.var4d.assimilate(**long), "undetect of -1 is 0")
    floats["DBZH"].attrs = {"units": "dBZ"}
    with pytest.warns(InputWarning, match=r"values beyond -130 to 130.*an undeclared _FillValue"):
        assert int(floats.var4d.assimilate(**long)["number_of_rejected_observations"][0]) > 16
    assert int(packed(raw).chunk(time=1).var4d.assimilate(**long)["number_of_rejected_observations"][0]) == 16
    with pytest.warns(InputWarning) as caught:
        undeclared = packed(raw).var4d.assimilate(**long)
    np.testing.assert_array_equal(undeclared["u"], expected["u"])
    (text,) = [str(one.message) for one in caught]
    for word in ("'DBZH'", "16 values of 95.5", "(0, 0, 0)", "declares no missing value", "_FillValue"):
        assert word in text
    return text


@fault(41, "units that differ between files", "refused, with the files")
def test_units_of_files(tmp_path) -> str:
    record = rainy(6)
    record.isel(time=slice(0, 3)).to_netcdf(tmp_path / "a.nc")
    later = record.isel(time=slice(3, 6))
    later["rain"].attrs["units"] = "m s-1"
    later.to_netcdf(tmp_path / "b.nc")
    words = ("assimilate", tmp_path / "a.nc", tmp_path / "b.nc", "-o", tmp_path / "out.nc")
    message = refused_by_shell(*words, code="different-units", names=("'mm h-1'", "a.nc", "'m s-1'", "b.nc"))
    assert message.faults[0].variable == "rain"
    return message
