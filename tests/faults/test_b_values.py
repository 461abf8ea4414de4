"""B. Values."""

from __future__ import annotations

import dask
import numpy as np
import pytest
import xarray as xr

from tests.faults.codes import raised
from tests.faults.images import rainy, warm, with_values
from tests.faults.table import fault, note
from xvar.errors import InputError, InputWarning
from xvar.minimize import LBFGS

MINUS = "(0, 3, 4)"


def put(value: float, *index: int):
    """A change of values at an index, and at the next column."""

    def change(values: np.ndarray) -> np.ndarray:
        values[index] = value
        return values

    return change


def warned(call, *words: str) -> tuple[xr.Dataset, str]:
    with pytest.warns(InputWarning) as caught:
        result = call()
    (text,) = [str(one.message) for one in caught if one.category is InputWarning]
    for word in words:
        assert word in text, text
    return result, text


def lazily(record: xr.Dataset, **options) -> xr.Dataset:
    with dask.config.set(scheduler="synchronous"):
        return record.chunk(time=2).var4d.assimilate(**options).compute()


@fault(15, "missing pixels (NaN)", "handled: not observed, counted, and the motion is finite everywhere")
def test_nan_pixels() -> str:
    holed = with_values(warm(), put(np.nan, 1, slice(5, 9), slice(5, 12)))
    result, whole = holed.var4d.assimilate(), warm().var4d.assimilate()
    assert np.isfinite(result["u"]).all()
    fewer = int(whole["number_of_observations"][0] - result["number_of_observations"][0])
    assert fewer == 28
    return f"number_of_observations: {int(result['number_of_observations'][0])}"


@fault(16, "infinite pixels", "taken as missing, with a warning and a count; `strict=True` refuses")
def test_infinite_pixels() -> str:
    record = with_values(warm(), put(np.inf, 0, 3, 4))
    result, text = warned(record.var4d.assimilate, "'sst'", MINUS, "NaN")
    assert int(result["number_of_rejected_observations"][0]) == 1
    note(result, "1 infinite values: taken as missing")
    xr.testing.assert_equal(result["u"], with_values(warm(), put(np.nan, 0, 3, 4)).var4d.assimilate()["u"])
    raised(lambda: record.var4d.assimilate(strict=True), "infinite-values", variable="sst", index=(0, 3, 4))
    lazy = lazily(record)
    assert int(lazy["number_of_rejected_observations"][0]) == 1
    with pytest.raises(InputError, match="1 infinite values"):
        lazily(record, strict=True)
    return text


@fault(17, "a frame without any value", "handled: no observations at its time, and counted")
def test_an_empty_frame() -> str:
    result = with_values(warm(), put(np.nan, 1)).var4d.assimilate()
    assert np.isfinite(result["u"]).all()
    return note(result, "1 of 4 frames without any value")


@fault(18, "a record without any value", "refused")
def test_nothing_finite() -> str:
    record = with_values(warm(6), put(np.nan, slice(None)))
    raised(lambda: lazily(record), "no-values")
    return raised(record.var4d.assimilate, "no-values", variable="sst")


@fault(19, "a dry image (zeros alone)", "handled: no motion, status `background_only`, a forecast without rain")
def test_all_zero_rain() -> str:
    result = with_values(rainy(), lambda values: 0 * values).var4d.assimilate()
    assert (result["status"] == 3).all()
    for name in ("u", "v"):
        np.testing.assert_array_equal(result[name], 0)
    np.testing.assert_array_equal(result.var4d.forecast("10min")["rain"], 0)
    return "status: 3 (background_only)"


@fault(20, "a constant field", "handled: the motion of the background, status `background_only`")
def test_constant_field() -> str:
    result = with_values(warm(), lambda values: 0 * values + 15).var4d.assimilate()
    assert (result["status"] == 3).all()
    np.testing.assert_array_equal(result["u"], 0)
    np.testing.assert_allclose(result["sst"], 15)
    return "status: 3 (background_only)"


@fault(
    21,
    "a window without observations",
    "handled: its background bit by bit, status `background_only`; the others go on",
)
def test_a_window_without_observations() -> str:
    record = with_values(warm(7), put(np.nan, slice(3, None)))
    result = record.var4d.assimilate()
    np.testing.assert_array_equal(result["status"], [1, 3])
    assert int(result["number_of_observations"][1]) == 0
    np.testing.assert_array_equal(result["u"][1], 0)
    background = xr.Dataset({"u": (("y", "x"), np.full((24, 24), 3.0)), "v": (("y", "x"), np.full((24, 24), 1.0))})
    own = with_values(warm(), put(np.nan, slice(1, None))).var4d.assimilate(dynamics="advection", background=background)
    np.testing.assert_array_equal(own["u"].isel(step=0), 3.0)
    return "status: 1, 3 (converged, background_only)"


@fault(22, "NaN in the background", "refused: a state is complete (on land nothing is looked at)")
def test_nan_in_the_background() -> str:
    first = warm()["sst"].isel(time=0, drop=True).copy()
    first[3, 4] = np.nan
    return raised(
        lambda: warm().var4d.assimilate(dynamics="advection", background=first.to_dataset()),
        "background-incomplete",
        variable="background sst",
        index=(3, 4),
    )


@fault(23, "errors of observation that are not positive", "refused, with their number and the first")
def test_observation_errors() -> str:
    std = xr.full_like(warm()["sst"], 0.5)
    std[1, 2, 3], std[2, 2, 2] = 0, np.nan
    raised(
        lambda: warm().var4d.assimilate(dynamics="advection", observation_error=-1.0),
        "observation-error-not-positive",
        variable="observation_error",
        index=(0, 0, 0),
    )
    return raised(
        lambda: warm().var4d.assimilate(dynamics="advection", observation_error=std),
        "observation-error-not-positive",
        variable="observation_error",
        index=(1, 2, 3),
    )


@fault(24, "negative rain", "refused; negative dBZ is what it is")
def test_negative_rain() -> str:
    record = with_values(rainy(), put(-0.5, 0, 3, 4))
    echoes = rainy().rename(rain="dbz")
    echoes["dbz"] = (echoes["dbz"] - 10).assign_attrs(units="dBZ")
    assert (echoes.var4d.assimilate(minimizer=LBFGS(max_evaluations=300))["status"] == 1).all()
    with pytest.raises(InputError, match=r"index \(0, 3, 4\) of window 0 .*negative values"):
        lazily(record)
    assert int(lazily(record, errors="continue")["number_of_rejected_observations"][0]) == 1
    return raised(record.var4d.assimilate, "negative-rain", variable="rain", index=(0, 3, 4))


@fault(
    25,
    "fill values that nobody declared, gross outliers",
    "refused where it is a fill value, else taken as missing with a warning; both counted window by window",
)
def test_gross_errors() -> str:
    alone = with_values(warm(), put(1e30, 1, 3, 4))
    result, _ = warned(alone.var4d.assimilate, "index (1, 3, 4)", "undeclared _FillValue 1e+30?", "ds['sst'].where")
    assert int(result["number_of_rejected_observations"][0]) == 1
    xr.testing.assert_equal(result["u"], with_values(warm(), put(np.nan, 1, 3, 4)).var4d.assimilate()["u"])
    filled = with_values(warm(), put(-9999, 1, 3, slice(4, 9)))
    marked = lazily(filled, errors="continue")
    assert int(marked["number_of_rejected_observations"][0]) == 5
    xr.testing.assert_equal(marked["u"], with_values(warm(), put(np.nan, 1, 3, slice(4, 9))).var4d.assimilate()["u"])
    with pytest.raises(InputError, match="undeclared _FillValue -9999"):
        lazily(filled)
    return raised(filled.var4d.assimilate, "fill-value", variable="sst", index=(1, 3, 4))


@fault(26, "masked arrays of numpy", "handled: masked is missing, never the number below the mask")
def test_masked_arrays() -> str:
    values = warm()["sst"].values
    mask = np.zeros(values.shape, bool)
    mask[1, 3, 4] = True
    record = warm().assign(sst=(("time", "y", "x"), np.ma.array(values, mask=mask), warm()["sst"].attrs))
    result = record.var4d.assimilate()
    xr.testing.assert_equal(result["u"], with_values(warm(), put(np.nan, 1, 3, 4)).var4d.assimilate()["u"])
    return f"number_of_observations: {int(result['number_of_observations'][0])}"


@fault(27, "values that are no real numbers", "refused, with their type")
def test_other_types() -> str:
    for dtype in (complex, bool, "datetime64[ns]"):
        record = with_values(warm(), lambda values, dtype=dtype: values.astype(dtype))
        raised(lambda record=record: record.var4d.assimilate("sst"), "not-numeric", variable="sst")
    return raised(
        lambda: with_values(warm(), lambda v: v.astype(str)).var4d.assimilate("sst"), "not-numeric", variable="sst"
    )


@fault(28, "half precision", "handled: computed in `dtype`, and said")
def test_half_precision() -> str:
    result = with_values(warm(), lambda values: values.astype("float16")).var4d.assimilate()
    assert result["sst"].dtype == "float32"
    return note(result, "float16")


@fault(29, "foreign byte order, long doubles", "handled: the same bits")
def test_byte_order_and_long_doubles() -> str:
    expected = warm().var4d.assimilate()
    for dtype in (">f8", "longdouble"):
        result = with_values(warm(), lambda values, dtype=dtype: values.astype(dtype)).var4d.assimilate()
        xr.testing.assert_equal(result["u"], expected["u"])
    return f"dtype of the result: {expected['u'].dtype}"


@fault(30, "flipped and read-only arrays", "handled: copied; the input is never written to")
def test_flipped_and_read_only() -> str:
    record = warm()
    values = record["sst"].values[:, ::-1]
    values.flags.writeable = False
    flipped = record.isel(y=slice(None, None, -1)).assign(sst=(("time", "y", "x"), values, record["sst"].attrs))
    before = values.copy()
    result = flipped.var4d.assimilate(dtype="float64").sortby("y")
    np.testing.assert_array_equal(values, before)
    np.testing.assert_allclose(result["u"], record.var4d.assimilate(dtype="float64")["u"], atol=1e-9)
    return "status: 1 (converged)"
