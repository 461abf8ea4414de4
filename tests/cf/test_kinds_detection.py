"""Nothing detected is no missing value: ODIM's undetect and nodata."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from xvar.cf.kinds import NOTHING, detected, undeclared_nodata

DBZ, ANY = (-130.0, 130.0), (0.0, 3000.0)


def packed(
    values: object, encoding: dict[str, object] | None = None, dtype: str = "f4", **attrs: object
) -> xr.DataArray:
    array = xr.DataArray(np.array(values, dtype), dims="x", name="z", attrs={"units": "dBZ", **attrs})
    array.encoding = (
        {"dtype": np.dtype("u1"), "scale_factor": 0.5, "add_offset": -32.0} if encoding is None else encoding
    )
    return array


PLAIN: dict[str, object] = {}
MISSING, SEEN = "nodata of {} taken as missing", "undetect of {} is {}: looked at, and nothing seen"


@pytest.mark.parametrize(
    ("kind", "array", "limits", "expected", "notes"),
    [
        # Codes of a packed file
        ("reflectivity", packed([-32, 0, 95.5], nodata=255.0, undetect=0.0), DBZ, [-32, 0, np.nan],
         [MISSING.format("95.5"), SEEN.format("-32", "-32")]),
        ("rain", packed([-32, 0, 95.5], nodata=255.0, undetect=0.0), ANY, [0, 0, np.nan],
         [MISSING.format("95.5"), SEEN.format("-32", "0")]),
        # Values of one that is not
        ("reflectivity", packed([-999, 0, -9999], PLAIN, nodata=-9999, undetect=-999), DBZ, [NOTHING, 0, np.nan],
         [MISSING.format("-9999"), SEEN.format("-999", "-32")]),
        ("reflectivity", packed([500, 0, 1], PLAIN, undetect=500), DBZ, [NOTHING, 0, 1], [SEEN.format("500", "-32")]),
        ("reflectivity", packed([-130, 130, 1], PLAIN, undetect=-130), DBZ, [-130, 130, 1],
         [SEEN.format("-130", "-130")]),
        ("reflectivity", packed([0, 130], PLAIN, undetect=130), DBZ, [0, 130], [SEEN.format("130", "130")]),
        ("rain", packed([-1, 0, 5], PLAIN, undetect=-1), ANY, [0, 0, 5], [SEEN.format("-1", "0")]),
        ("rain", packed([0, 2, 5], PLAIN, undetect=0), ANY, [0, 2, 5], [SEEN.format("0", "0")]),
        # Other spellings; the first that is a number counts.
        ("rain", packed([9, 2, 5], PLAIN, _Nodata=9), ANY, [np.nan, 2, 5], [MISSING.format("9")]),
        ("rain", packed([9, 2, 5], PLAIN, what_nodata=np.float32(9)), ANY, [np.nan, 2, 5], [MISSING.format("9")]),
        ("rain", packed([9, 2, 5], PLAIN, _Undetect=9), ANY, [0, 2, 5], [SEEN.format("9", "0")]),
        ("rain", packed([9, 2, 5], PLAIN, what_undetect=9), ANY, [0, 2, 5], [SEEN.format("9", "0")]),
        ("rain", packed([9, 2, 5], PLAIN, nodata="none", _Nodata=np.nan, what_nodata=2), ANY, [9, np.nan, 5],
         [MISSING.format("2")]),
        # To the rounding of single precision
        ("rain", packed([1000, 1000.0009, 1000.002], PLAIN, "f8", nodata=1000), ANY, [np.nan, np.nan, 1000.002],
         [MISSING.format("1000")]),
        ("rain", packed([0, 0.9e-6, 2e-6], PLAIN, "f8", nodata=0), ANY, [np.nan, np.nan, 2e-6], [MISSING.format("0")]),
        # Nothing declared, and what is no radar
        ("rain", packed([9, 2, 5], PLAIN), ANY, [9, 2, 5], []),
        ("other", packed([9, 2, 5], PLAIN, nodata=9), ANY, [9, 2, 5], []),
        ("temperature", packed([9, 2, 5], PLAIN, undetect=9), ANY, [9, 2, 5], []),
    ],
)  # fmt: skip
def test_codes_that_are_no_values(kind, array, limits, expected, notes) -> None:
    told: list[str] = []
    for given in (array, array.chunk()):
        told.clear()
        result = detected(given, kind, limits, told)
        assert told == notes
        np.testing.assert_array_equal(result.values, np.array(expected, array.dtype))
        assert (result.dtype, result.attrs, result.chunks is None) == (array.dtype, array.attrs, given.chunks is None)
    assert bool(notes) or detected(array, kind, limits, told) is array


PACKED = {"dtype": "u1", "scale_factor": 0.5, "add_offset": -32.0}


@pytest.mark.parametrize(
    ("kind", "encoding", "attrs", "expected"),
    [
        ("reflectivity", PACKED, {}, 95.5),
        ("rain", PACKED, {}, 95.5),
        ("rain", {"dtype": np.dtype("u2"), "scale_factor": 0.01}, {}, 655.35),
        ("other", PACKED, {}, None),
        ("temperature", PACKED, {}, None),
        ("rain", {**PACKED, "dtype": "i2"}, {}, None),
        ("rain", {**PACKED, "dtype": "f4"}, {}, None),
        ("rain", {"scale_factor": 0.5}, {}, None),
        ("rain", {**PACKED, "dtype": None}, {}, None),
        ("rain", {"dtype": "u1", "add_offset": 1.0}, {}, None),
        *(("rain", {**PACKED, key: 255}, {}, None) for key in ("_FillValue", "missing_value")),
        *(("rain", PACKED, {key: 255}, None) for key in ("_FillValue", "valid_range", "valid_max", "nodata")),
        *(("rain", PACKED, {key: 0}, None) for key in ("_Nodata", "what_nodata")),
        *(("rain", PACKED, {key: 0}, None) for key in ("undetect", "_Undetect", "what_undetect")),
    ],
)  # fmt: skip
def test_the_highest_code_of_a_file_that_declares_nothing(kind, encoding, attrs, expected) -> None:
    found = undeclared_nodata(packed([1, 2, 3], encoding, **attrs), kind)
    assert found == (None if expected is None else pytest.approx(expected, rel=1e-12))
