"""The lines of docs/howto/producers.md and other-sensors.md, run on files of each producer."""

from __future__ import annotations

import pathlib
import re
import shlex

import numpy as np
import pytest
import xarray as xr
from scipy.ndimage import gaussian_filter, map_coordinates

import xvar
from tests.faults.shell import shell
from tests.io.producers import files
from tests.io.test_odim import volume
from tests.test_docs import ROOT, blocks
from xvar.io.producers import meteoswiss

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::xvar.InputWarning", "ignore::xvar.AnalysisWarning"),
]


def volumes(folder: pathlib.Path, raw: object = None) -> str:
    for frame in range(4):
        volume(folder / f"{frame:02d}_pvol.h5", 5 * frame)
    return "*_pvol.h5"


#: Files of the rows of the table, and the package that reads them.
ROWS = {
    "OPERA, rain rate": (files.opera, "h5py"),
    "OPERA, maximum reflectivity": (files.opera_maximum, "h5py"),
    "RMI": (files.rmi, "h5py"),
    "ODIM_H5 volumes": (volumes, "xradar"),
    "KNMI": (files.knmi, "h5py"),
    "FMI, PGM": (files.fmi_pgm, "pyproj"),
    "FMI, GeoTIFF": (files.fmi_geotiff, "rioxarray"),
    "MeteoSwiss, HDF5": (files.meteoswiss_hdf5, "h5py"),
    "MeteoSwiss, GIF": (files.meteoswiss_gif, "PIL"),
    "BoM Rainfields": (files.rainfields, "netCDF4"),
    "MRMS": (files.mrms, "cfgrib"),
    "MeteoNet": (files.meteonet, "numpy"),
    "DWD RADOLAN": (files.radolan, "wradlib"),
    "NWC SAF, Meteosat": (files.nwcsaf, "netCDF4"),
    "GOES": (files.goes, "netCDF4"),
    "GHRSST": (files.ghrsst, "netCDF4"),
    "CMEMS": (files.cmems, "netCDF4"),
    "ROMS": (files.roms, "netCDF4"),
}
#: Those whose files are parts of real ones.
REAL = (files.knmi, files.fmi_pgm, files.fmi_geotiff, files.meteoswiss_gif, files.rainfields, files.mrms, files.nwcsaf)


def table() -> dict[str, tuple[str, str, str]]:
    """Return the line of Python, that of the shell and the extra of each producer of the page."""
    text = (ROOT / "docs/howto/producers.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \| `(xvar\.[^`]+)` \| `(xvar [^`]+)` \| ([^|]+) \|$", text, re.MULTILINE)
    return {name: lines for name, *lines in rows}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> pathlib.Path:
    monkeypatch.setattr(meteoswiss, "_SHAPE", (files.SIDE, files.SIDE))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(function, folder: pathlib.Path, request) -> None:
    raw = request.getfixturevalue("shared_data") / "raw" if function in REAL else None
    function(folder, raw)


def test_the_table_has_all_producers() -> None:
    assert set(table()) == set(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_a_line_of_python_and_one_of_the_shell_give_a_forecast(name, folder, request) -> None:
    function, package = ROWS[name]
    pytest.importorskip(package)
    write(function, folder, request)
    python, command, _ = table()[name]
    nowcast = eval(python, {"xvar": xvar})
    field = next(key for key, part in nowcast.data_vars.items() if "lead_time" in part.dims)
    assert np.isfinite(nowcast[field]).any()
    code, message = shell(*shlex.split(command)[1:])
    assert code == 0, message
    with xr.open_dataset("nowcast.nc") as written:
        np.testing.assert_allclose(written[field], nowcast[field], rtol=1e-5, atol=1e-5)


def test_the_page_of_producers_runs_as_written(folder, request) -> None:
    write(files.knmi, folder, request)
    code, (named,) = blocks("docs/howto/producers.md")[:-1], blocks("docs/howto/producers.md")[-1:]
    scope: dict[str, object] = {}
    for block in code:
        exec(block, scope)
    assert pathlib.Path("nowcast.nc").stat().st_size
    for frame in range(2):
        xr.Dataset({"rain": (("y", "x"), np.ones((4, 4)))}).to_netcdf(f"radar_20240601120{5 * frame}.nc")
    exec(named, scope)
    assert scope["radar"].sizes["time"] == 2
    first, second = blocks("docs/howto/producers.md", "sh")
    pytest.importorskip("cartopy")
    for command in first.splitlines()[1:]:
        words = shlex.split(command)[1:]
        code, message = shell(*words, *(["--overwrite"] if words[0] == "nowcast" else []))
        assert code == 0, message
    assert pathlib.Path("nowcast.png").read_bytes().startswith(b"\x89PNG")
    assert second.startswith("xvar info")


def moving(pixels: float, frames: int, *, size: int = 96, seed: int = 0) -> np.ndarray:
    """A pattern that moves along x, of standard deviation 1."""
    noise = gaussian_filter(np.random.default_rng(seed).standard_normal((size + 160, size + 160)), 4)
    places = (
        np.meshgrid(np.arange(size) + 80.0, np.arange(size) + 80 - pixels * k, indexing="ij") for k in range(frames)
    )
    return np.stack([map_coordinates(noise / noise.std(), place, order=3) for place in places])


def record(values: np.ndarray, minutes: float, metres: float, name: str, **attrs: str) -> xr.Dataset:
    axes = {
        dim: (dim, metres * np.arange(values.shape[1]), {"units": "m", "standard_name": f"projection_{dim}_coordinate"})
        for dim in ("y", "x")
    }
    times = np.datetime64("2024-06-01", "ns") + np.arange(len(values)) * np.timedelta64(int(60 * minutes), "s")
    return xr.Dataset({name: (("time", "y", "x"), values.astype("float32"), attrs)}, {"time": times, **axes})


def error(data: xr.Dataset, true: float, **options: object) -> float:
    """RMS error of u at the end of the last window, away from the edges."""
    u = data.var4d.assimilate(**options)["u"].isel(window=-1, y=slice(20, -20), x=slice(20, -20))
    return float(np.sqrt(((u.isel(step=-1) - true) ** 2).mean()))


@pytest.mark.parametrize(("speed", "minutes", "metres"), [(15, 10, 1000), (25, 10, 1000), (15, 15, 3000)])
def test_radars_of_ten_minutes_and_geostationary_satellites_need_nothing(speed, minutes, metres) -> None:
    rain = np.maximum(4 * moving(60 * minutes * speed / metres, 4), 0)
    data = record(rain, minutes, metres, "rain", units="mm h-1", standard_name="rainfall_rate")
    assert error(data, speed) < 0.01 * speed
    assert error(data, speed, window=3) < 0.02 * speed


def hourly() -> xr.Dataset:
    noise = 0.05 * np.random.default_rng(1).standard_normal((25, 96, 96))
    attrs = {"units": "K", "standard_name": "sea_surface_temperature"}
    return record(290 + moving(0.2 * 3600 / 2000, 25) + noise, 60, 2000, "sst", **attrs)


def test_hourly_temperature_needs_a_window_of_a_day() -> None:
    whole = error(hourly(), 0.2, window="1D")
    assert whole < 0.04
    assert whole < 0.6 * error(hourly(), 0.2)


def test_the_page_of_other_sensors_runs_as_written(folder, request) -> None:
    write(files.rainfields, folder, request)
    write(files.nwcsaf, folder, request)
    for index in range(25):
        hourly().isel(time=[index]).to_netcdf(f"sst_hourly_{index:02d}.nc")
    scope: dict[str, object] = {}
    for block in blocks("docs/howto/other-sensors.md"):
        exec(block, scope)
    assert scope["currents"].sizes["step"] == 25
    assert scope["sst"].sel(time=scope["sst"]["time"].dt.hour == 3).sizes["time"] == 1
    for command in blocks("docs/howto/other-sensors.md", "sh"):
        code, message = shell(*shlex.split(command)[1:])
        assert code == 0, message
