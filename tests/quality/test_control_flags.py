"""What the flags of quality beside a variable say, and the line that uses them."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from xvar.cf.axes import Axes
from xvar.quality.control import quality_notes

DIMS = ("t", "y", "x")
AXES = Axes(*DIMS)
LABEL = "ds['v'] = ds['v'].where("


def told(name: str = "v_quality", dims: tuple[str, ...] = DIMS, linked: object = None, **attrs: object) -> list[str]:
    sizes = {"t": 2, "y": 3, "x": 4, "z": 2}
    flags = (dims, np.zeros([sizes[dim] for dim in dims], "i1"), attrs)
    dataset = xr.Dataset({"v": (DIMS, np.zeros((2, 3, 4))), name: flags})
    if linked is not None:
        dataset["v"].attrs["ancillary_variables"] = linked
    return quality_notes(dataset, dataset["v"], AXES)


FLAGS = {"flag_values": np.array([0, 1, 2], "i1"), "flag_meanings": "bad good best"}
CHOSEN = "ds['{0}'].isin([1, 2])) keeps good and best"


@pytest.mark.parametrize(
    ("name", "attrs", "is_told"),
    [
        *((name, FLAGS, True) for name in ("quality", "sst_QC", "qc_flag", "Quality_level")),
        *((name, FLAGS, False) for name in ("flags", "equality", "qcflag", "aqc")),
        ("flags", {**FLAGS, "standard_name": "quality_flag"}, True),
        ("flags", {**FLAGS, "standard_name": "sst quality_flag"}, True),
        ("flags", {**FLAGS, "standard_name": "status_flag"}, False),
    ],
)
def test_quality_is_known_by_name_and_standard_name(name, attrs, is_told) -> None:
    expected = [f"quality: {name!r} is not applied; {LABEL}{CHOSEN.format(name)}"]
    assert told(name, **attrs) == (expected if is_told else [])
    assert told(name, ("y", "x"), **attrs) == (expected if is_told else [])
    for dims in (("t",), ("t", "y"), ("x",)):
        assert told(name, dims, **attrs) == []


def test_flags_that_the_variable_points_at() -> None:
    note = f"quality: 'w' is not applied; {LABEL}{CHOSEN.format('w')}"
    assert told("w", linked="a w", **FLAGS) == [note]
    assert told("w", linked="a", **FLAGS) == []
    assert told("w", linked="w") == []  # no flags
    assert told("w", linked=7, **FLAGS) == []
    assert told("w", **FLAGS) == []


def test_a_variable_is_not_the_quality_of_itself() -> None:
    dataset = xr.Dataset({name: (DIMS, np.zeros((2, 3, 4))) for name in ("quality", "a_quality", "b_quality")})
    line = "ds['quality'] = ds['quality'].where(ds['{0}'] == ...) keeps its good values"
    assert quality_notes(dataset, dataset["quality"], AXES) == [
        f"quality: {name!r} is not applied; {line.format(name)}" for name in ("a_quality", "b_quality")
    ]


@pytest.mark.parametrize(
    ("attrs", "condition"),
    [
        ({}, " == ...) keeps its good values"),
        ({"flag_meanings": "good bad"}, " == ...) keeps its good values"),
        ({"flag_meanings": "good"}, " == ...) keeps its good values"),
        ({"flag_values": [0, 1]}, " == ...) keeps its good values"),
        ({"flag_values": [0, 1], "flag_meanings": "good"}, " == ...) keeps its good values"),
        ({"flag_values": np.int8(3), "flag_meanings": "GOOD"}, ".isin([3])) keeps GOOD"),
        ({"flag_values": [0, 1], "flag_meanings": "a b"}, " == ...) keeps one of 0 = a, 1 = b"),
        ({"flag_values": [0.5, 1], "flag_meanings": "not_good Bad"}, " == ...) keeps one of 0.5 = not_good, 1 = Bad"),
        *(
            ({"flag_values": [0, 1], "flag_meanings": f"{word} other"}, f".isin([0])) keeps {word}")
            for word in ("good", "best_quality", "acceptable", "high_q", "is_valid", "ok", "nominal_value")
        ),
        *(
            ({"flag_values": [0], "flag_meanings": f"{word}_good"}, f" == ...) keeps one of 0 = {word}_good")
            for word in ("no", "not", "bad", "worst", "low", "invalid", "suspect", "doubtful", "Probably")
        ),
        ({"flag_values": [0, 1], "flag_meanings": "goods highest"}, " == ...) keeps one of 0 = goods, 1 = highest"),
    ],
)  # fmt: skip
def test_the_condition_keeps_what_is_called_good(attrs, condition) -> None:
    assert told(**attrs) == [f"quality: 'v_quality' is not applied; {LABEL}ds['v_quality']{condition}"]
