"""Quality control of a record when it is read: notes, warnings and faults."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr

from tests.faults.codes import codes
from tests.faults.images import rainy, warm
from tests.quality.test_rules_values import ECHO, OTHER, WARM, as_array, default, frames
from xvar.cf.record import Record, read_record
from xvar.errors import Faults, InputWarning
from xvar.quality.control import check_values, screen_record
from xvar.quality.rules import Screen, read_quality


def screened(dataset: xr.Dataset, *, strict: bool = False, **options: object) -> tuple[Record, Faults]:
    faults = Faults()
    record = read_record(dataset, None, faults, **options)
    assert record is not None
    return screen_record(record, dataset, read_quality(None, record.kind, faults), faults, strict=strict), faults


def test_notes_come_behind_those_of_the_file() -> None:
    """Flags, values, stripes, times."""
    dataset = warm()
    dataset["sst"][1, 2, 3] = np.inf
    dataset["sst_qc"] = (("time", "y", "x"), np.zeros((4, 24, 24), "i1"))
    with pytest.warns(InputWarning, match=r"1 infinite values, the first at index \(1, 2, 3\)"):
        record, faults = screened(dataset)
    assert record.notes[3:] == (
        "quality: 'sst_qc' is not applied; ds['sst'] = ds['sst'].where(ds['sst_qc'] == ...) keeps its good values",
        "1 infinite values: taken as missing",
    )
    assert not len(faults)
    assert codes(screened(dataset, strict=True)[1]) == ["infinite-values"]
    assert len(screened(warm().chunk(time=1))[0].notes) == 3


def test_the_screen_of_a_record() -> None:
    record, _ = screened(rainy())
    assert Screen.of_record(record) == Screen.of("rain", "rain", "mm h-1", record.interval)
    depth = rainy().rename(time="t")
    depth["rain"] = (depth["rain"] / 12).assign_attrs(units="mm")
    screen = Screen.of_record(screened(depth)[0])
    assert (screen.high, screen.amount, screen.time) == (250.0, True, "t")


@pytest.mark.parametrize(
    ("dtype", "notes"), [("float32", []), ("float64", []), ("int16", []), ("float16", ["float16"])]
)
def test_usual_values_have_no_notes(dtype, notes) -> None:
    array = xr.DataArray(np.arange(48.0).reshape(3, 4, 4).astype(dtype), dims=("t", "y", "x"))
    for one in (array, array.chunk()):
        faults = Faults()
        found = check_values(one, OTHER, default(OTHER), faults)
        assert [note.partition(" ")[0] for note in found] == notes
        assert not len(faults)


@pytest.mark.parametrize(
    ("screen", "values", "reported"),
    [
        (OTHER, [1, np.inf, -np.inf, 2], [("infinite", 2, "(0, 0, 1)", "replace them by NaN")]),
        (
            WARM,
            [300, 301, 302, 5000, 303, 304],
            [("range", 1, "(0, 0, 3)", "ds['t'] = ds['t'].where(ds['t'] <= 1000)")],
        ),
        (WARM, [300, 301, 302, 303, 5, 5000, 304], [("range", 2, "(0, 1, 0)", "ds['t'].where(ds['t'] >= 100)")]),
        (ECHO, [20, -999, -999, 30], [("fill_value", 2, "(0, 0, 1)", "ds['z'] = ds['z'].where(ds['z'] != -999)")]),
        (
            Screen.of("z", "reflectivity", "dBZ", None, 95.5),
            [20, 95.5, 30, 95.5, 40],
            [("highest_code", 2, "(0, 0, 1)", "write the _FillValue")],
        ),
        (
            WARM,
            [300, 301, np.inf, 5000, 303, 304],
            [("infinite", 1, "(0, 0, 2)", "NaN"), ("range", 1, "(0, 0, 3)", "_FillValue 5000?")],
        ),
    ],
)
def test_rejected_values_are_reported_rule_by_rule(screen, values, reported) -> None:
    array, faults = as_array(frames(values), screen), Faults()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        notes = check_values(array, screen, default(screen), faults)
    assert not len(faults)
    texts = [str(warning.message) for warning in caught]
    assert all(warning.category is InputWarning for warning in caught)
    for note, text, (rule, count, index, fix) in zip(notes, texts, reported, strict=True):
        assert note.startswith(f"{count} ")
        assert note.endswith(": taken as missing")
        assert text.startswith(
            f"variable {screen.variable!r}: {note.partition(': taken')[0]}, the first at index {index}"
        )
        assert fix in text
        assert rule == "infinite" or f'quality={{"{rule}": False}}' in text


def test_empty_frames_and_half_precision_have_notes() -> None:
    cube = frames(np.arange(24.0), dtype="float16")
    cube[1] = np.nan
    cube[2, 0, 0] = np.nan
    array = as_array(cube, OTHER)
    half = "float16 values, computed in a wider type"
    assert check_values(array, OTHER, default(OTHER), Faults()) == [half, "1 of 3 frames without any value"]
    assert check_values(array.chunk(), OTHER, default(OTHER), Faults()) == [half]
    filled = array.astype("f8").where(array.isnull() | (array > 3), -999.0)
    faults = Faults()
    assert check_values(filled, OTHER, default(OTHER), faults) == ["1 of 3 frames without any value"]
    assert codes(faults) == ["fill-value"]
