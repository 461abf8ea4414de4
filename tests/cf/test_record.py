"""Attributes that are text in CF are text, whatever a file holds there."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from tests.faults.images import warm
from xvar.cf.record import as_dataset, with_text
from xvar.errors import InputError, Problems


def test_what_is_no_text_becomes_text_or_goes() -> None:
    record = warm()
    record["sst"].attrs = {
        "units": b"degree_Celsius",
        "long_name": "Temp\u00e9rature".encode(),
        "standard_name": 7,
        "cell_methods": b"time: \xff",
        "comment": [1, 2],
    }
    record["y"].attrs = {"units": "m", "axis": None}
    record["x"].attrs = {"units": np.float32(1.0)}
    before = record.copy(deep=True)
    result = with_text(record)
    assert result["sst"].attrs == {
        "units": "degree_Celsius",
        "long_name": "Temp\u00e9rature",
        "cell_methods": "time: \ufffd",
        "comment": [1, 2],  # CF says of other attributes nothing
    }
    assert (result["y"].attrs, result["x"].attrs) == ({"units": "m"}, {"units": "1"})
    xr.testing.assert_equal(result, record)
    xr.testing.assert_identical(record, before)
    tidy = warm()
    assert with_text(tidy) is tidy


def test_an_array_needs_a_name_of_its_own() -> None:
    problems = Problems()
    array = warm()["sst"]
    dataset, name = as_dataset(array, problems)
    assert name == "sst"
    xr.testing.assert_identical(dataset["sst"], array)
    dataset, name = as_dataset(array.rename(None), problems)
    assert (name, list(dataset.data_vars)) == ("variable", ["variable"])
    assert as_dataset(warm(), problems)[1] is None
    with pytest.raises(InputError, match=r"own coordinate 'y'.*rename it, array\.rename\("):
        as_dataset(warm()["y"], Problems())


def test_a_variable_that_is_named_needs_its_axes() -> None:
    with pytest.raises(InputError, match=r"no x \(longitude\) dimension among \(time: 4, y: 24, q: 24\)"):
        warm().rename(x="q").drop_attrs().drop_vars("q").var4d.assimilate("sst", units="K")
