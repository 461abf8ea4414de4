"""What instruments add to images: found where it is, nothing found where it is not, the motion hardly moved by it."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xvar
from tests.cf.outputs import FILES
from xvar.cf.artefacts import artefacts, blocked, cloud_rims, dry_frames, ground

SIDE = 128


def storm() -> xr.Dataset:
    return xvar.datasets.sample().drop_vars("valid").isel(time=slice(0, 4)).load()


def images() -> np.ndarray:
    return storm()["rain"].values.astype("float64")


def scattered(share: float = 0.01) -> np.ndarray:
    return np.random.default_rng(1).random((SIDE, SIDE)) < share


def sector(width: float) -> np.ndarray:
    """Directions that a radar in the middle does not see."""
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    return np.abs(np.arctan2(x, y) - 0.7) < width


def test_a_dry_image_is_none_where_it_rains_before_and_after() -> None:
    for missing in range(4):
        window = images()
        window[missing] = 0
        np.testing.assert_array_equal(dry_frames(window), np.arange(4) == missing)
    assert not dry_frames(images()).any()
    ending = images()
    ending[2:] = 0  # two are no accident
    assert not dry_frames(ending).any()
    drizzle = np.zeros((4, 40, 40))
    drizzle[[0, 1, 3], 0, :30] = 1.0  # fewer points than make it sure
    assert not dry_frames(drizzle).any()
    assert not dry_frames(np.zeros((4, 9, 9))).any()
    holed = images()
    holed[1] = np.nan
    assert not dry_frames(holed).any()


def test_echoes_of_the_ground_stand_still_above_what_is_around_them() -> None:
    window, points = images(), scattered()
    window[:, points] = 60 * (1 + 0.3 * np.random.default_rng(2).random(points.sum()))
    found = ground(window)
    assert (found & ~points).sum() == 0
    assert (found & points).sum() > 0.6 * points.sum()  # in heavy rain they do not stand out, and do no harm
    moving = images()
    for frame in range(4):
        moving[frame, points] = 60 * (frame == 0)
    assert not ground(moving).any()
    assert not ground(np.zeros((4, 9, 9))).any()


@pytest.mark.parametrize(("width", "share"), [(0.15, 0.9), (0.4, 0.4)])  # in the middle of a wide one nothing is known
def test_a_blocked_sector_is_found(width, share) -> None:
    window, shadow = images(), sector(width)
    window[:, shadow] = 0
    found = blocked(window)
    assert (found & shadow).sum() > share * shadow.sum()
    assert not (found & (images().max(axis=0) > 0) & ~shadow).any()
    assert not blocked(images()).any()


def test_the_rim_of_a_cloud_is_colder_than_the_sea_at_other_times() -> None:
    generator = np.random.default_rng(0)
    sea = 15 + generator.normal(0, 0.05, (4, 30, 30))
    sea[2, 10:15, 10:15] = np.nan
    rim = np.zeros(sea.shape, dtype=bool)
    rim[2, 8:17, 8:17] = True
    rim &= np.isfinite(sea)
    cold = np.where(rim, sea - 2, sea)
    cold[1, 2, 2] -= 2  # far from any cloud: a cold spot may be the sea's
    np.testing.assert_array_equal(cloud_rims(cold), rim)
    assert not cloud_rims(sea).any()
    land = cold.copy()
    land[:, 10:15, 10:15] = np.nan  # what is never seen is no cloud
    assert not cloud_rims(land).any()
    assert not cloud_rims(np.full((4, 5, 5), 3.0)).any()
    assert not artefacts(cold, "other").any()
    assert not artefacts(cold[:2], "temperature").any()


def test_real_radars_without_them_lose_nothing(shared_data) -> None:
    for file, (name, *_) in FILES.items():
        if file.startswith("radar"):
            with xr.open_dataset(shared_data / file) as record:
                window = record[name].squeeze().transpose(..., *record[name].dims[-2:])[:4].values
            assert not artefacts(window, "rain").any(), file


def faulty(kind: str) -> tuple[xr.Dataset, np.ndarray]:
    """The storm with a fault, and the points that it touches in all frames."""
    record, touched = storm(), np.zeros((SIDE, SIDE), dtype=bool)
    values = record["rain"].values.astype("float32")
    if kind == "ground":
        touched = scattered()
        values[:, touched] = 60
    elif kind == "sector":
        touched = sector(0.15)
        values[:, touched] = 0
    else:
        values[int(kind)] = 0
    return record.assign(rain=(record["rain"].dims, values, record["rain"].attrs)), touched


@pytest.mark.parametrize(("kind", "share"), [("ground", 0.05), ("sector", 0.05), ("1", 0.05), ("2", 0.1), ("3", 0.2)])
def test_the_motion_hardly_suffers(kind, share) -> None:
    """The end point error against the clean record, over its mean speed.

    Without the rules it is 18%, 29%, 1%, 21% and 870%.
    """
    expected = storm().var4d.assimilate().isel(window=0, step=-1)
    record, touched = faulty(kind)
    result = record.var4d.assimilate()
    assert int(result["number_of_rejected_observations"][0]) > 0
    raining = (expected["rain_observed"].values > 0) & ~touched
    error = np.hypot(*(result[name].values[0, -1] - expected[name].values for name in ("u", "v")))[raining]
    speed = np.hypot(expected["u"].values, expected["v"].values)[raining]
    assert error.mean() < share * speed.mean()
