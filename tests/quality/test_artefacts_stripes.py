"""Stripes of scanners whose detectors differ: told where they are, not where a sea has none."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from tests.quality.test_artefacts_radiometer import sea
from xvar.cf.axes import Axes
from xvar.errors import InputWarning
from xvar.quality.artefacts import stripe_notes, stripes


def striped(deviation: float = 0.2, side: int = 40) -> np.ndarray:
    """The sea as sixteen detectors see it that differ, from another first line in each frame."""
    detectors = np.random.default_rng(4).normal(0, deviation, 16)
    return sea(side) + np.stack([detectors[(np.arange(side) + 5 * k) % 16] for k in range(4)])[..., None]


def test_stripes_are_lines_that_differ_one_by_one() -> None:
    for image in striped():
        assert 0.1 < stripes(image) < 0.4
        assert stripes(image.T) == 0
    assert stripes(striped(0.4)[0]) == pytest.approx(2 * stripes(striped(0.2)[0]), rel=0.1)
    for image in sea():
        assert stripes(image) == stripes(image.T) == 0
    steep = np.repeat((0.1 * np.arange(40) ** 2)[:, None], 40, axis=1)  # a front lies along the lines: no stripe
    assert stripes(steep) == stripes(np.ones((40, 40))) == stripes(np.full((40, 40), np.nan)) == 0
    assert stripes(striped()[0][:17]) == 0  # of 17 lines 15 lie between two others
    holed = striped()[0]
    holed[::2, ::2] = np.nan
    assert stripes(holed) == pytest.approx(stripes(striped()[0]), rel=0.2)
    holed[::2] = np.nan
    assert stripes(holed) == 0  # no line has both neighbours


def record_of(images: np.ndarray) -> xr.DataArray:
    return xr.DataArray(images, dims=("time", "y", "x"), name="sst", attrs={"units": "K"})


def test_stripes_are_told_where_most_frames_of_temperature_have_them() -> None:
    axes = Axes("time", "y", "x")
    mixed = np.concatenate([striped()[:2], sea()[2:]])
    for array, kind in (
        (record_of(striped()), "rain"),
        (record_of(striped()).chunk(), "sea_temperature"),
        (record_of(mixed), "sea_temperature"),
        (record_of(sea()), "sea_temperature"),
    ):
        assert stripe_notes(array, axes, kind) == []
    with pytest.warns(InputWarning, match=r"median\('x'\)"):
        (note,) = stripe_notes(record_of(striped()), axes, "sea_temperature")
    assert note.startswith("stripes along 'x' of about 0.")
    assert note.endswith(" K in 4 of 4 frames")
    with pytest.warns(InputWarning, match=r"median\('y'\)"):
        (note,) = stripe_notes(record_of(striped().transpose(0, 2, 1)), axes, "sea_temperature")
    assert note.startswith("stripes along 'y'")


def rows_of(*pattern: float, count: int = 18, columns: int = 24) -> np.ndarray:
    return np.repeat(np.resize(pattern, count)[:, None], columns, axis=1).astype(float)


@pytest.mark.parametrize(
    ("image", "usual"),
    [
        (rows_of(0, 1), 1.0),
        (rows_of(0, -3), 3.0),
        (rows_of(0, 0, 1), 0.5),
        (rows_of(0, 0, 1, 1, count=40), None),  # no line stands apart from both beside it
        (rows_of(0, 0, 0), None),
        (rows_of(0, 1, count=17), None),
        (rows_of(0, 1) + np.resize([0, 1.25, -1.25], 24) * rows_of(0, 1), 1.0),  # two thirds of what pixels differ by
        (rows_of(0, 1) + np.resize([0, 1.4, -1.4], 24) * rows_of(-1, 1), None),
        (
            np.where(np.arange(84)[:, None] % 4 == 3, np.nan, rows_of(0, 1, count=84)),
            None,
        ),  # no two that are neighbours
    ],
)
def test_stripes_by_what_lines_differ_and_turn(image, usual) -> None:
    expected = 0.0 if usual is None else 1.4826 * usual / np.sqrt(1.5)
    assert stripes(image) == pytest.approx(expected, rel=1e-12)
    assert stripes(2 * image + 280) == pytest.approx(2 * expected, rel=1e-9)


def test_stripes_are_told_word_by_word() -> None:
    frames = np.stack([rows_of(0, 1), rows_of(0, 1), rows_of(0, 1), rows_of(0, 0)])
    frames[0, 0, 0] = np.inf  # no value
    array = xr.DataArray(frames, dims=("when", "row", "column"), name="sst", attrs={"units": "K"})
    mean = ".rolling(row=16, center=True, min_periods=1).mean()"
    for attrs, unit in (({"units": "K"}, " K"), ({}, "")):
        with pytest.warns(InputWarning) as warned:
            notes = stripe_notes(
                array.drop_attrs().assign_attrs(attrs), Axes("when", "row", "column"), "sea_temperature"
            )
        assert notes == [f"stripes along 'column' of about 1.2{unit} in 3 of 4 frames"]
        (warning,) = warned
        assert str(warning.message) == (
            f"variable 'sst': {notes[0]}, which the motion follows as part of the image; fix: "
            "steps = (ds['sst'] - ds['sst'].shift(row=1)).median('column'); "
            f"offsets = (steps - steps{mean}).cumsum('row'); ds['sst'] = ds['sst'] - (offsets - offsets{mean})"
        )
    assert stripe_notes(array[[0, 3]], Axes("when", "row", "column"), "sea_temperature") == []
