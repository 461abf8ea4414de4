"""What instruments add to images: found where it is, nothing found where it is not, the motion hardly moved by it."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xvar
from tests.cf.outputs import FILES
from tests.cf.test_axes import opened
from xvar.errors import InputWarning
from xvar.quality.artefacts import (
    ALONG,
    FRAMES,
    artefacts,
    blocked,
    broken_lines,
    cloud_rims,
    dry_frames,
    ground,
    line_differences,
)
from xvar.quality.stripes import stripes

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
    even = np.full((4, 30, 30), 15.0)
    even[2, 10:15, 10:15] = np.nan
    assert not cloud_rims(even).any()  # what never varies has no deviation to be cold by
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


def sea(side: int = 40) -> np.ndarray:
    """Four frames of temperature with the noise of a radiometer."""
    y, x = np.mgrid[:side, :side]
    waves = np.sin(x / 5) + np.cos(y / 7) + 0.002 * y**2
    return 15 + waves + np.random.default_rng(3).normal(0, 0.05, (4, side, side))


def test_broken_lines_stand_apart_from_both_beside_them() -> None:
    broken = sea()
    expected = np.zeros(broken.shape, dtype=bool)
    for index, shift in ((np.s_[1, 7], 1.0), (np.s_[1, 20], -1.0), (np.s_[2, :, 31], 2.0)):
        broken[index] += shift
        expected[index] = True
    broken[1, 7, :5] = np.nan  # what is not there is not taken out
    np.testing.assert_array_equal(broken_lines(broken), expected & np.isfinite(broken))
    np.testing.assert_array_equal(artefacts(broken, "temperature"), expected & np.isfinite(broken))
    assert not artefacts(broken, "other").any()
    assert not broken_lines(sea()).any()
    assert not broken_lines(broken[..., : ALONG - 1, : ALONG - 1]).any()  # a short one may be a front


def test_real_seas_lose_nothing_and_have_no_stripes(shared_data) -> None:
    for file, (name, *_) in FILES.items():
        if file.startswith(("sst", "ocean", "currents-duacs")):
            with opened(shared_data / file) as record:
                window = record[name].squeeze()[:4].values.astype("float64")
            assert not broken_lines(window).any(), file
            assert not any(stripes(frame) + stripes(frame.T) for frame in window), file


#: Of motion that faults of the images tear, which xvar tells beside.
crossing = pytest.mark.filterwarnings("ignore:trajectories cross:xvar.errors.AnalysisWarning")


def coast(shared_data) -> tuple[xr.Dataset, xr.Dataset]:
    """Hourly temperature of a coast, and the currents that moved it."""
    with xr.open_dataset(shared_data / "ocean-norkyst800-20160114.nc") as whole:
        ocean = whole.isel(time=slice(0, 3)).load()
    return ocean, ocean.isel(time=-1)


def end_point_error(ocean: xr.Dataset, truth: xr.Dataset) -> float:
    last = ocean.var4d.assimilate("temperature", constraint="weak").isel(window=0, step=-1)
    inside = (np.hypot(last["u"] - truth["u"], last["v"] - truth["v"])).values[5:-5, 5:-5]
    return float(np.nanmean(inside))


@crossing
def test_lines_and_stripes_of_a_real_sea(shared_data) -> None:
    """The error of the currents is 0.145 m/s, 0.30 without any.

    Eight broken lines do no harm worth telling (without the rule it is 0.264). Stripes do, are told, and are taken out
    by doing what the warning says.
    """
    ocean, truth = coast(shared_data)
    clean = end_point_error(ocean, truth)
    assert clean < 0.15
    generator = np.random.default_rng(0)
    rows = generator.choice(ocean.sizes["Y"], 8, replace=False)
    broken = ocean.copy(deep=True)
    broken["temperature"].values[1, rows] += generator.choice([-2, 2], 8)[:, None]
    assert end_point_error(broken, truth) < 1.03 * clean

    offsets = np.stack([generator.normal(0, 0.2, 16)[np.arange(ocean.sizes["Y"]) % 16] for _ in range(3)])
    ds = ocean.copy(deep=True)
    ds["temperature"] = (
        ocean["temperature"].dims,
        ocean["temperature"].values + offsets[..., None],
        ocean["temperature"].attrs,
    )
    with pytest.warns(InputWarning, match="stripes along 'X' of about") as warned:
        harmed = end_point_error(ds, truth)
    assert harmed > 1.3 * clean
    scope = {"ds": ds}
    exec(str(warned[0].message).partition("taken out by ")[2], scope)
    ds["temperature"].attrs = ocean["temperature"].attrs
    assert end_point_error(ds, truth) < 1.2 * clean


@crossing
def test_edges_of_clouds_on_a_real_sea(shared_data) -> None:
    """A fifth of each frame is cloud, with a rim that is 1.5 K colder: 0.179 m/s, where rims of clear sea have 0.151.

    Without the rule it is 0.319, worse than no motion.
    """
    ocean, truth = coast(shared_data)
    clean = end_point_error(ocean, truth)
    y, x = np.mgrid[: ocean.sizes["Y"], : ocean.sizes["X"]]
    values = ocean["temperature"].values.copy()
    for frame, image in enumerate(values):
        wave = np.sin(x / 38 + 2 * frame) * np.sin(y / 34 + frame)
        cloud = wave > 0.45
        near = np.any([np.roll(cloud, (i, j), (0, 1)) for i in range(-2, 3) for j in range(-2, 3)], axis=0)
        image[near] -= 1.5
        image[cloud] = np.nan
    clouded = ocean.assign(temperature=ocean["temperature"].copy(data=values))
    assert 0.1 < np.isnan(values[:, np.isfinite(ocean["temperature"].values).all(axis=0)]).mean() < 0.3
    assert end_point_error(clouded, truth) < 1.3 * clean


def test_few_frames_and_points_that_are_seldom_seen_tell_nothing() -> None:
    rain = images()
    rain[1] = 0.0
    found = artefacts(rain[:FRAMES], "rain")  # one of them is dry: too few are left for what stands still
    assert found[1].all()
    assert not found[[0, 2]].any()
    generator = np.random.default_rng(0)
    sea = 15 + generator.normal(0, 0.05, (4, 30, 30))
    sea[:2, :, :15] = np.nan  # every point is seen twice
    sea[2:, :, 15:] = np.nan
    assert not cloud_rims(sea).any()


@pytest.mark.parametrize(
    ("shares", "dry"),
    [
        ([5, 0, 5], [1]),
        ([4, 0, 5], []),
        ([5, 0, 4], []),
        ([0, 5, 5], [0]),  # at an end two frames have to rain
        ([0, 5, 4], []),
        ([0, 4, 5], []),
        ([5, 5, 0], [2]),
        ([4, 5, 0], []),
        ([5, 4, 0], []),
        ([0, 5, 0], []),
        ([5, 0, 0, 5], []),
        ([0, 5, 5, 0, 5, 5, 0], [0, 3, 6]),
        ([4, 5, 0, 5, 4], [2]),
        ([5, 1, 5], []),
    ],
)
def test_dry_images_by_the_share_of_points_that_rain_around_them(shares, dry) -> None:
    window = np.full((len(shares), 10, 10), -32.0)
    for k, share in enumerate(shares):
        window[k, k, :share] = 7.0
    np.testing.assert_array_equal(np.flatnonzero(dry_frames(window)), dry)
    # Of points that are seen.
    wide = np.concatenate([window, np.full_like(window, np.nan)], axis=2)
    np.testing.assert_array_equal(np.flatnonzero(dry_frames(wide)), dry)
    rejected = artefacts(wide, "reflectivity")
    np.testing.assert_array_equal(np.flatnonzero(rejected.all(axis=(1, 2))), dry)
    assert rejected.sum() == len(dry) * 200


def standing(*points: tuple[int, int], strength: tuple[float, ...] = (16.0, 16.0, 16.0)) -> np.ndarray:
    """Echoes that stand on a dry plain of 12 x 15 points."""
    window = np.zeros((len(strength), 12, 15))
    for row, column in points:
        window[:, row, column] = strength
    return window


CROSS = ((5, 6), (4, 6), (6, 6), (5, 5), (5, 7))


@pytest.mark.parametrize(
    ("window", "found"),
    [
        (standing((5, 6)), True),
        (standing((0, 0)), True),
        (standing((0, 0), (0, 14), (11, 0), (11, 14)), True),
        (standing(*CROSS), True),  # each has four beside it
        (standing(*CROSS, (4, 5)), False),
        (standing((5, 6), strength=(16.5, 20.0, 23.5)), True),  # they differ by 0.35 of the mean
        (standing((5, 6), strength=(16.25, 20.0, 23.75)), False),
        (standing((5, 6), strength=(16.0, 16.0, np.nan)), False),
        (standing((5, 6), strength=(16.0, 0.0, 16.0)), False),
    ],
)
@pytest.mark.parametrize("turns", range(4))
def test_points_of_the_ground(window, found, turns) -> None:
    expected = (np.nan_to_num(window) > 0).all(axis=0) & found
    for image in (window, 2 * window - 32):  # in whatever units
        np.testing.assert_array_equal(ground(np.rot90(image, turns, axes=(1, 2))), np.rot90(expected, turns))


@pytest.mark.parametrize(("around", "found"), [(7.75, True), (8.0, False)])
def test_echoes_stand_above_those_around_them_by_half(around, found) -> None:
    window = np.full((3, 12, 15), around)
    window[:, 5, 6] = 16.0
    window[:, 11, 14] = 0.0
    np.testing.assert_array_equal(np.argwhere(ground(window)), [[5, 6]] if found else np.empty((0, 2)))
    window[1, 5, 7] = np.nan  # of what is not seen nothing is known
    np.testing.assert_array_equal(np.argwhere(ground(window)), [[5, 6]] if found else np.empty((0, 2)))


@pytest.mark.parametrize(("others", "found"), [(29.0, True), (33.0, False)])
def test_echoes_of_the_ground_are_no_weaker_than_half_of_what_is_typical(others, found) -> None:
    window = standing((5, 6))
    for frame in range(3):
        window[frame, frame, 10:] = others  # the mean is 27 or 31, or a little above 32 without the echo
        window[frame, 11 - frame, :6] = others + 2 * (others > 30)
    np.testing.assert_array_equal(np.argwhere(ground(window)), [[5, 6]] if found else np.empty((0, 2)))


def rain_beside(rows: int, columns: int = 30, speckles: int = 0) -> np.ndarray:
    """Rain in the first ten columns of some rows that ends at a line; drops here and there, each time elsewhere."""
    window = np.zeros((3, 60, 10 + columns))
    window[:, :rows, :10] = 16.0
    free = [(i, j) for i in range(rows + 3, 58, 4) for j in range(2, 8 + columns, 4)]
    for frame in range(3):
        for i, j in free[frame * speckles : (frame + 1) * speckles]:
            window[frame, i, j] = 16.0
    return window


@pytest.mark.parametrize("turns", range(4))
def test_a_sector_begins_at_its_line_and_is_so_wide_at_most(turns) -> None:
    window = rain_beside(60)
    expected = np.zeros(window.shape[1:], dtype=bool)
    expected[:, 10:35] = True  # the line and 24 more
    for image in (window, 2 * window - 32):
        np.testing.assert_array_equal(blocked(np.rot90(image, turns, axes=(1, 2))), np.rot90(expected, turns))
    window[1, 3, 20] = np.nan  # neither dry
    window[2, 4, 20] = 1.0
    expected[[3, 4], 20] = False
    np.testing.assert_array_equal(blocked(window)[:, :30], expected[:, :30])


@pytest.mark.parametrize(
    ("rows", "columns", "speckles", "found"),
    [
        # Under the rain lies a line, too: ten points below its last row.
        (10, 30, 0, True),
        (9, 30, 0, False),
        (10, 60, 20, True),  # a fifth of the edges: 80 beside drops
        (10, 60, 21, False),
    ],
)
def test_a_line_has_twenty_points_and_a_fifth_of_all_edges(rows, columns, speckles, found) -> None:
    assert blocked(rain_beside(rows, columns, speckles)).any() == found


@pytest.mark.parametrize(("strength", "found"), [(8.0, False), (8.25, True)])
def test_a_line_is_beside_rain_of_half_the_usual_strength_in_every_frame(strength, found) -> None:
    window = rain_beside(60)
    window[:, :, 9], window[:, :, 0] = strength, 32.0 - strength  # the mean remains 16
    assert blocked(window).any() == found
    window[1, :, 9] = 0.0
    assert not blocked(window).any()


def warm_sea(frames: int = 5) -> np.ndarray:
    """15 degrees and a tenth more or less, frame by frame."""
    window = np.full((frames, 20, 24), 15.0)
    window[:-1:2] += 0.1
    window[1:-1:2] -= 0.1
    return window


def corner(row: int, column: int) -> np.ndarray:
    """What lies within three points of one."""
    y, x = np.mgrid[:20, :24]
    return np.maximum(abs(y - row), abs(x - column)) <= 3


@pytest.mark.parametrize(("row", "column"), [(9, 11), (0, 0), (19, 23), (1, 22)])
@pytest.mark.parametrize("turns", range(4))
def test_a_rim_is_three_points_wide(row, column, turns) -> None:
    window = warm_sea() - 5.0 * (np.arange(5) == 4)[:, None, None]  # the last frame is cold everywhere
    window[4, row, column] = np.nan
    expected = np.zeros(window.shape, dtype=bool)
    expected[4] = corner(row, column)
    expected[4, row, column] = False
    turned = cloud_rims(np.rot90(window, turns, axes=(1, 2)))
    np.testing.assert_array_equal(turned, np.rot90(expected, turns, axes=(1, 2)))


@pytest.mark.parametrize(("colder", "found"), [(0.98, False), (1.0, True), (-1.0, False)])
def test_a_rim_is_colder_by_six_deviations(colder, found) -> None:
    window = warm_sea()  # of 0.148, and at that point a tenth colder than elsewhere
    window[4, 5, 5] = np.nan
    window[4, 5, 7] = 15.0 - colder
    np.testing.assert_array_equal(np.argwhere(cloud_rims(window)), [[4, 5, 7]] if found else np.empty((0, 3)))


def test_three_frames_tell_a_rim() -> None:
    window = warm_sea(3)
    window[2, 5, 5] = np.nan
    window[2, 5, 7] = 13.0
    np.testing.assert_array_equal(np.argwhere(cloud_rims(window)), [[2, 5, 7]])


def test_of_points_seen_twice_the_warmer_is_usual_and_of_those_seen_once_nothing() -> None:
    window = warm_sea()
    window[4, 5, 5] = np.nan
    window[4, 5, 7] = 14.0
    window[[0, 1, 2], 5, 7] = np.nan
    window[4, 5, 3] = 14.0
    window[:4, 5, 3] = np.nan
    np.testing.assert_array_equal(np.argwhere(cloud_rims(window)), [[4, 5, 7]])


def chequered(rows: int = 24, columns: int = 40) -> np.ndarray:
    """One each side of zero from pixel to pixel: they differ by two from those beside them, no line from another."""
    y, x = np.mgrid[:rows, :columns]
    return np.where((x + y) % 2, 1.0, -1.0)[None]


@pytest.mark.parametrize(
    ("row", "shift", "found"),
    [(9, 17.8, True), (9, -17.8, True), (9, 17.7, False), (1, 20.0, True), (22, 20.0, True), (0, 20.0, False)],
)
@pytest.mark.parametrize("turns", range(4))
def test_a_line_is_broken_by_six_deviations_of_a_pixel(row, shift, found, turns) -> None:
    window = chequered()
    window[0, row] += shift
    expected = np.zeros(window.shape, dtype=bool)
    expected[0, row] = found
    turned = broken_lines(np.rot90(window, turns, axes=(1, 2)))
    np.testing.assert_array_equal(turned, np.rot90(expected, turns, axes=(1, 2)))


def test_two_broken_lines_beside_each_other() -> None:
    window = chequered()
    window[0, 9] += 20.0
    window[0, 10] -= 20.0
    np.testing.assert_array_equal(np.flatnonzero(broken_lines(window)[0].all(axis=1)), [9, 10])


@pytest.mark.parametrize(("known", "found"), [(19, False), (20, True)])
def test_a_line_is_told_by_twenty_points(known, found) -> None:
    window = chequered()
    window[0, 9] += 20.0
    window[0, 9, known:] = np.nan
    np.testing.assert_array_equal(broken_lines(window)[0, 9], found & np.isfinite(window[0, 9]))


def test_differences_of_lines() -> None:
    squares = np.repeat((np.arange(6.0) ** 2)[:, None], 21, axis=1)
    apart, pixel = line_differences(squares)
    np.testing.assert_array_equal(apart, [-1.0] * 4)
    assert pixel == pytest.approx(1.4826, rel=1e-12)
    squares[1, :2] = np.nan
    apart, pixel = line_differences(squares)
    np.testing.assert_array_equal(apart, [np.nan, np.nan, -1.0, -1.0])
    assert pixel == pytest.approx(1.4826, rel=1e-12)
    apart, pixel = line_differences(squares[:, 2:])
    np.testing.assert_array_equal(apart, [np.nan] * 4)
    assert pixel == np.inf


@pytest.mark.parametrize("kind", ["rain", "reflectivity", "temperature", "other"])
def test_each_kind_has_its_own_artefacts(kind) -> None:
    window = np.zeros((3, 44, 44), dtype="f4")
    window[:, 5, 6] = 16.0
    line = np.repeat(chequered(), 3, axis=0).astype("f4")
    line[1, 9] += 20.0
    points = [[k, 5, 6] for k in range(3)] if kind in ("rain", "reflectivity") else np.empty((0, 3))
    np.testing.assert_array_equal(np.argwhere(artefacts(window, kind)), points)
    assert artefacts(line, kind)[1, 9].all() == (kind == "temperature")
    for empty in (window[:2], line[:2], np.full_like(window, np.nan)):
        assert artefacts(empty, kind).shape == empty.shape
        assert not artefacts(empty, kind).any()


def test_what_stands_still_is_told_where_it_is_seen() -> None:
    window = np.zeros((5, 44, 44))
    window[:, 5, 6] = 16.0
    for frame in (0, 1, 3, 4):
        window[frame, 20:, 10 + 4 * frame : 20 + 4 * frame] = 16.0
    window[2] = 0.0  # what a dry image lacks is there in the others
    window[2, 40, 40] = np.nan
    rejected = artefacts(window, "rain")
    assert rejected[2].all()
    np.testing.assert_array_equal(np.argwhere(rejected[[0, 1, 3, 4]]), [[k, 5, 6] for k in range(4)])
