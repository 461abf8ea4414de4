"""The sample, and images of twin experiments against exact solutions."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import xvar
from tests.cf.strict import strict_cf
from tests.core.numerics import order
from tests.faults.codes import codes
from xvar.core.models.characteristics import RandomImage, departures
from xvar.datasets import twin
from xvar.errors import InputError

DATA = Path(os.environ.get("XVAR_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
SPACING = 1000.0


def truth(u: Any, v: Any, *, points: int = 32, frames: int = 3, hours: float = 1.0) -> xr.Dataset:
    """A velocity on a grid around the origin, u and v numbers or functions of x and y in metres and t in seconds."""
    along = (np.arange(points) - (points - 1) / 2) * SPACING
    time = pd.date_range("2024-01-01", periods=frames, freq=pd.Timedelta(hours=hours))
    t = np.arange(frames)[:, None, None] * hours * 3600
    x, y = along[None, None, :], along[None, :, None]
    shape = (frames, points, points)
    values = {
        name: np.broadcast_to(part(x, y, t) if callable(part) else part, shape).astype("float64")
        for name, part in (("u", u), ("v", v))
    }
    attrs = {name: {"units": "m", "standard_name": f"projection_{name}_coordinate"} for name in "xy"}
    return xr.Dataset(
        {name: (("time", "y", "x"), part, {"units": "m s-1"}) for name, part in values.items()},
        coords={"time": time, "y": ("y", along, attrs["y"]), "x": ("x", along, attrs["x"])},
    )


def test_the_sample_is_there() -> None:
    assert dict(xvar.datasets.sample().sizes) == {"time": 7, "y": 128, "x": 128}


@pytest.mark.parametrize(("cells_x", "cells_y"), [(2, 0), (0, -3), (1, 2)])
def test_a_translation_by_whole_cells_is_exact(cells_x: int, cells_y: int) -> None:
    images = twin(truth(cells_x * SPACING / 3600, cells_y * SPACING / 3600), noise=0)["temperature"]
    for index in range(1, 3):
        moved = images.isel(time=0).shift(x=index * cells_x, y=index * cells_y)
        difference = abs(images.isel(time=index, drop=True) - moved.drop_vars("time"))
        assert float(difference.max()) < 2e-6  # the rounding of float32 at 15 degrees
        assert int(difference.notnull().sum()) > 500


def test_interpolation_between_points_is_the_sum_of_waves() -> None:
    generator = torch.Generator().manual_seed(0)
    image = RandomImage.draw((16, 16), 3.0, generator)
    position = torch.rand(1, 2, 10, 10, generator=generator, dtype=torch.float64) * 15
    finer = torch.fft.fft2(image.values[0, 0]) / image.values.numel()
    waves = [torch.fft.fftfreq(n, 1 / n, dtype=torch.float64) for n in finer.shape]
    x, y = (2 * math.pi * position[0, axis].flatten() * 4 / finer.shape[1 - axis] for axis in (0, 1))
    exact = torch.einsum(
        "yx,py,px->p",
        finer,
        torch.exp(1j * y[:, None] * waves[0]),
        torch.exp(1j * x[:, None] * waves[1]),
    ).real
    assert float((image(position).flatten() - exact).abs().max()) < 2e-4


def test_solid_rotation() -> None:
    """A quarter of a turn rotates the image by 90 degrees."""
    rate = math.pi / 2 / 7200
    images = twin(truth(lambda x, y, t: -rate * y + 0 * t, lambda x, y, t: rate * x + 0 * t), noise=0)["temperature"]
    first, last = images.values[0], images.values[-1]
    y, x = np.indices(first.shape) - (first.shape[0] - 1) / 2
    inside = np.hypot(x, y) < 15
    turned = first[::-1].T  # the value at (x, y) comes from (y, -x)
    assert np.abs(turned - last)[inside].max() < 1e-5


def test_paths_in_a_velocity_that_changes_in_time_are_exact() -> None:
    """A uniform velocity, linear in time: the path is a parabola."""
    velocity = torch.zeros(2, 2, 8, 8, dtype=torch.float64)
    velocity[1, 0] = 2e-3
    velocity[:, 1] = 1e-3
    found = departures(velocity, [0.0, 1000.0], [0.0, 500.0, 1000.0])
    here = found[0]
    for row, time in ((1, 500.0), (2, 1000.0)):
        inner = slice(3, 6)
        expected = here - torch.tensor([1e-6 * time**2, 1e-3 * time]).view(2, 1, 1)
        assert float((found[row] - expected)[:, inner, inner].abs().max()) < 1e-12


def test_the_spectrum_falls_with_the_third_power() -> None:
    """Along lines, averaged over both axes and over seeds."""
    powers = []
    for seed in range(4):
        field = RandomImage.draw((96, 96), 3.0, torch.Generator().manual_seed(seed)).values[0, 0][::4, ::4]
        powers += [torch.fft.rfft(lines, dim=1).abs().square().mean(0) for lines in (field, field.T)]
    power = torch.stack(powers).mean(0)
    waves = torch.arange(len(power))
    chosen = slice(4, 40)
    slope = order(waves[chosen].tolist(), power[chosen].tolist())
    assert slope == pytest.approx(-3, abs=0.15)


def test_the_image_varies_by_one_kelvin() -> None:
    images = twin(truth(0.0, 0.0), noise=0)["temperature"]
    assert float(images.isel(time=0).std()) == pytest.approx(1, abs=1e-5)
    assert images.attrs["units"] == "degree_Celsius"
    assert (images.isel(time=0) == images.isel(time=2)).all()


def test_a_seed_gives_the_same_images_and_another_gives_others() -> None:
    options = {"noise": 0.1, "clouds": 0.3, "irregular": 0.2}
    current = truth(0.3, 0.1)
    first, again, other = (twin(current, seed=seed, **options) for seed in (1, 1, 2))
    xr.testing.assert_identical(first.drop_attrs(), again.drop_attrs())
    assert not first["temperature"].equals(other["temperature"])
    clear = twin(current, seed=1, noise=0.1, irregular=0.2)
    seen = first["temperature"].notnull()
    xr.testing.assert_equal(first["temperature"], clear["temperature"].where(seen))


def test_noise_clouds_and_times_are_as_stated() -> None:
    current = truth(0.1, 0.0, points=64, frames=5)
    clean = twin(current, noise=0)
    noisy = twin(current, noise=0.2)
    assert float((noisy - clean)["temperature"].std()) == pytest.approx(0.2, rel=0.02)
    hidden = twin(current, clouds=0.4)["temperature"].isnull().mean(["y", "x"])
    assert hidden.values == pytest.approx(np.full(5, 0.4), abs=1e-3)
    late = twin(current, irregular=0.3)["time"].values
    off = (late - current["time"].values) / np.timedelta64(1, "h")
    assert off[0] == 0
    assert (abs(off) <= 0.3).all()
    assert np.unique(off).size > 2
    assert twin(current, times="30min").sizes["time"] == 9
    chosen = current["time"].values[[0, 3]] + np.timedelta64(600, "s")
    assert (twin(current, times=chosen)["time"].values == chosen).all()


def test_the_order_of_coordinates_changes_nothing() -> None:
    current = truth(lambda x, y, t: 0.3 + 1e-5 * y + 0 * t, lambda x, y, t: 2e-5 * x + 0 * t)
    plain = twin(current, noise=0)
    turned = twin(current.isel(y=slice(None, None, -1)).transpose("x", "time", "y"), noise=0)
    xr.testing.assert_allclose(plain["temperature"], turned["temperature"].sortby("y"), rtol=0, atol=1e-6)


def test_an_image_of_the_user() -> None:
    current = truth(2 * SPACING / 3600, 0.0)
    own = current["u"].isel(time=0, drop=True) * 0 + np.arange(32)
    images = twin(current, image=own, noise=0)["temperature"]
    np.testing.assert_allclose(images.values[1, :, 4:], own.values[:, 2:-2], atol=1e-5)


def test_land_is_missing_and_the_velocity_is_in_the_output() -> None:
    current = truth(0.3, 0.1)
    current["u"][:, :5, :5] = np.nan
    images = twin(current, times="30min")
    assert images["temperature"][:, :5, :5].isnull().all()
    assert images["temperature"][:, 5:, :].notnull().all()
    np.testing.assert_allclose(images["u"].values[::2], current["u"].values.astype("float32"))
    np.testing.assert_allclose(images["v"].values[1], 0.1, rtol=1e-6)


def test_the_input_is_not_changed() -> None:
    current = truth(0.3, 0.1)
    before = current.copy(deep=True)
    twin(current, clouds=0.2)
    xr.testing.assert_identical(current, before)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"clouds": 1.0}, "out-of-range"),
        ({"irregular": 0.5}, "out-of-range"),
        ({"noise": -1.0}, "out-of-range"),
        ({"velocity": ("a", "b")}, "no-velocity"),
        ({"times": [np.datetime64("2023-01-01")]}, "times-out-of-range"),
        ({"image": xr.DataArray(np.zeros((3, 3)), dims=("y", "x"))}, "image-not-on-grid"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], code: str) -> None:
    with pytest.raises(InputError) as error:
        twin(truth(0.1, 0.1), **options)
    assert codes(error.value) == [code]


def test_a_duration_without_a_unit_is_refused() -> None:
    with pytest.raises(InputError):
        twin(truth(0.1, 0.1), times="5")


def test_units_of_the_velocity() -> None:
    current = truth(0.1, 0.1)
    current["u"].attrs["units"] = "km h-1"
    with pytest.raises(InputError) as error:
        twin(current)
    assert [(fault.code, fault.variable) for fault in error.value.faults] == [("wrong-units", "u")]


@pytest.mark.parametrize("file", ["currents-norkyst800-20151116.nc", "currents-duacs-ionian-202401.nc"])
def test_true_currents(file: str, tmp_path: Path) -> None:
    path = DATA / file
    if not path.exists():
        pytest.skip(f"{path} is absent")
    with xr.open_dataset(path) as dataset:
        current = dataset.isel(time=slice(0, 2)).load()
    images = twin(current, clouds=0.2, irregular=0.2)
    assert 0.5 < float(images["temperature"].isel(time=0).std()) < 1.5
    images.to_netcdf(tmp_path / "twin.nc")
    code, words = strict_cf(tmp_path / "twin.nc")
    assert code == 0, words
