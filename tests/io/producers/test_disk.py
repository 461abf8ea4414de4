"""Whole regions of geostationary satellites, whose corners are beyond the disk of the Earth."""

from __future__ import annotations

import functools
import json
from typing import Any

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

import xvar
from tests.io.producers import files
from tests.runs.records import same
from xvar.cli import application

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore::xvar.AnalysisWarning")]

#: Writer, variable, height of the satellite.
DISKS = {
    "NWC SAF": (files.nwcsaf_whole, "crr_intensity", 35785863.0),
    "GOES": (functools.partial(files.goes, top=0.1325, left=-0.0755), "RRQPE", 35786023.0),
}


def seen(image: xr.DataArray, height: float) -> np.ndarray:
    """Return whether lines of sight meet the Earth: a quadratic equation has a root."""
    a, b = 6378137.0, 6356752.314
    factor = 1.0 if image.dims[-1] == "x" else 1 / height
    y, x = np.meshgrid(*(np.asarray(image[dim], dtype=float) * factor for dim in image.dims[1:]), indexing="ij")
    sweep_x = image.dims[-1] == "x"  # GOES scans along x, Meteosat along y
    ray = (
        np.stack([np.cos(x) * np.cos(y), np.sin(x), np.cos(x) * np.sin(y)])
        if sweep_x
        else np.stack([np.cos(x) * np.cos(y), np.sin(x) * np.cos(y), np.sin(y)])
    )
    weights = np.array([1, 1, (a / b) ** 2])[:, None, None]
    along, square = ((height + a) * ray[0]), (weights * ray**2).sum(0)
    return along**2 - square * ((height + a) ** 2 - a**2) >= 0


@pytest.fixture(params=DISKS)
def disk(request, tmp_path) -> tuple[str, str, float]:
    write, name, height = DISKS[request.param]
    return str(tmp_path / write(tmp_path)), name, height


def test_points_beyond_the_disk_are_never_observed(disk) -> None:
    pattern, name, height = disk
    record = xvar.open(pattern).compute()
    inside = seen(record[name], height)
    assert 0.6 < inside.mean() < 0.95
    minutes = 15 if name == "crr_intensity" else 10
    found = xvar.nowcast(record, f"{minutes}min", hindcast=False)
    notes = json.loads(found.attrs["xvar_configuration"])["notes"]
    (counted,) = (note for note in notes if "never observed" in note)
    beyond = int(counted.partition("; ")[2].split()[0])
    # A row of pixels at the limb whose neighbour is beyond has no spacing either.
    assert 0 <= beyond - (~inside).sum() <= 2 * files.SIDE
    observed = found[f"{name}_observed"].isel(window=0).notnull().values
    assert observed.sum() == inside.size - beyond
    assert not (observed & ~inside).any()
    for part in ("u", "v"):
        assert np.isfinite(found[part]).all()
    # What a file has there, fill or numbers, is of no effect.
    changed = record.copy(deep=True)
    changed[name] = changed[name].where(inside, 7.0)
    again = xvar.nowcast(changed, f"{minutes}min", hindcast=False)
    assert set(same(again, found)) <= {"observed_share"}  # which counts values of the file
    geographic = found.var4d.to_geographic()
    assert np.array_equal(np.isfinite(geographic["eastward"].isel(window=0)), inside)


def test_the_shell_makes_nowcast_picture_and_vectors_of_it(disk, tmp_path, monkeypatch) -> None:
    pytest.importorskip("matplotlib")
    pattern, _, _ = disk
    monkeypatch.chdir(tmp_path)

    def call(*words: Any) -> None:
        done = CliRunner().invoke(application, [str(word) for word in words])
        assert done.exit_code == 0, done.output

    call("nowcast", pattern, "-o", "nowcast.nc", "--lead", "30min", "--no-hindcast")
    call("plot", "nowcast.nc", "-o", "motion.png")
    call("plot", "nowcast.nc", "-o", "forecast.png", "--kind", "forecast")
    for of in ("motion", "forecast"):
        call("export", "nowcast.nc", "-o", f"{of}.geojson", "--of", of)
        text = (tmp_path / f"{of}.geojson").read_text()
        assert json.loads(text)["features"]
        assert "NaN" not in text
