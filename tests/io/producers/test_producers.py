"""Files of each producer become a record with CF metadata, whose motion is found; test_pages has the shell."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np
import pytest

import xvar
from tests.io.producers import files
from xvar.errors import InputWarning
from xvar.io.producers import meteoswiss

pytestmark = pytest.mark.usefixtures("one_thread")


@dataclasses.dataclass(frozen=True)
class Case:
    write: Callable[..., str]
    name: str  # of the variable
    minutes: float
    metres: float | None = None  # between pixels, if the files state it
    packages: tuple[str, ...] = ()
    real: bool = False


CASES = {
    "OPERA": Case(files.opera, "RATE", 5, 2000, ("h5py",)),
    "OPERA maximum": Case(files.opera_maximum, "DBZH", 5, 1000, ("h5py",)),
    "RMI": Case(files.rmi, "RATE", 5, 1000, ("h5py",)),
    "KNMI": Case(files.knmi, "rain", 5, 1000, ("h5py",), real=True),
    "FMI PGM": Case(files.fmi_pgm, "DBZH", 5, 999.65, real=True),
    "FMI GeoTIFF": Case(files.fmi_geotiff, "DBZH", 5, 250.01, ("rioxarray",), real=True),
    "MeteoSwiss GIF": Case(files.meteoswiss_gif, "rain", 5, 1000, ("PIL",), real=True),
    "MeteoSwiss HDF5": Case(files.meteoswiss_hdf5, "RATE", 5, 1000, ("h5py",)),
    "BoM": Case(files.rainfields, "precipitation", 10, 0.5, real=True),
    "MRMS": Case(files.mrms, "PrecipRate", 2, None, ("cfgrib",), real=True),
    "MeteoNet": Case(files.meteonet, "rain", 5),
    "RADOLAN": Case(files.radolan, "RY", 5, 1000, ("wradlib",)),
    "NWC SAF": Case(files.nwcsaf, "crr_intensity", 15, 3000, real=True),
    "GOES": Case(files.goes, "RRQPE", 10),
    "GHRSST": Case(files.ghrsst, "sea_surface_temperature", 24 * 60),
    "CMEMS": Case(files.cmems, "thetao", 24 * 60),
    "ROMS": Case(files.roms, "temp", 24 * 60),
}


@pytest.fixture(params=CASES)
def case(request) -> Case:
    chosen = CASES[request.param]
    for package in chosen.packages:
        pytest.importorskip(package)
    return chosen


@pytest.fixture
def pattern(case, tmp_path, request, monkeypatch) -> str:
    raw = request.getfixturevalue("shared_data") / "raw" if case.real else None
    monkeypatch.setattr(meteoswiss, "_SHAPE", (files.SIDE, files.SIDE))
    return str(tmp_path / case.write(tmp_path, raw))


@pytest.mark.filterwarnings("ignore::xvar.InputWarning")
def test_a_line_of_python_gives_a_record(case, pattern) -> None:
    record = xvar.open(pattern)
    image = record[case.name]
    assert [name for name, part in record.data_vars.items() if part.ndim >= 3] == [case.name]
    assert image.ndim == 3
    assert image.dtype.kind == "f"
    time = image.dims[0]
    assert (record[time].diff(time) / np.timedelta64(1, "s") == 60 * case.minutes).all()
    assert np.isfinite(image).any()
    assert image.attrs["units"] not in ("unknown", "1")
    if case.metres is not None:
        for dim in image.dims[1:]:
            np.testing.assert_allclose(np.abs(np.diff(record[dim])), case.metres, rtol=1e-3)
        assert "crs_wkt" in record[image.attrs["grid_mapping"]].attrs or "grid_mapping_name" in (
            record[image.attrs["grid_mapping"]].attrs
        )


@pytest.mark.filterwarnings("ignore::xvar.InputWarning", "ignore::xvar.AnalysisWarning")
def test_a_line_of_python_gives_a_forecast(case, pattern) -> None:
    options = {"method": "image_motion"} if case.minutes > 60 else {}
    analysis = xvar.open(pattern).var4d.assimilate(**options).compute()
    assert (analysis["status"] <= 3).all()
    if not case.real:
        inner = analysis.isel(window=-1, step=-1).isel({d: slice(10, -10) for d in analysis["u"].dims[-2:]})
        directions = float(np.rad2deg(np.arctan2(inner["v"].median(), inner["u"].median())))
        assert directions == pytest.approx(_direction(case), abs=20)  # an axis taken the wrong way is 50 off
    forecast = analysis.var4d.forecast(f"{case.minutes:g}min")
    assert np.isfinite(forecast[case.name]).any()


def _direction(case: Case) -> float:
    """Direction of the motion from east, counted northwards, on the ground."""
    north, east = -files.CELLS / 2, files.CELLS
    if case.write is files.goes:
        return float(np.rad2deg(np.arctan2(north, east)))
    north = -north if case.write is files.roms else north  # along the index of its rows, which ascends southwards
    stretch = {files.meteonet: 0.616, files.ghrsst: 0.77, files.cmems: 0.79, files.roms: 0.9}.get(case.write, 1.0)
    return float(np.rad2deg(np.arctan2(north, east * stretch)))


def test_missing_and_undetected_are_told_apart(tmp_path) -> None:
    pattern = files.opera(tmp_path)
    rate = xvar.open(str(tmp_path / pattern))["RATE"].isel(time=0).values
    expected = 8 * files.cells(0)
    expected[expected < 0.1] = 0
    expected[:2] = np.nan
    np.testing.assert_allclose(rate, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("write", "importer", "options"),
    [
        (files.knmi, "import_knmi_hdf5", {"qty": "ACRR"}),
        (files.fmi_pgm, "import_fmi_pgm", {"gzipped": True}),
        (files.meteoswiss_gif, "import_mch_gif", {"product": "AQC", "unit": "mm", "accutime": 5}),
        (files.rainfields, "import_bom_rf3", {}),
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # they leave files open
def test_values_are_those_of_another_reader(write, importer, options, tmp_path, shared_data, monkeypatch) -> None:
    """The importers of pysteps read the same numbers."""
    importers = pytest.importorskip("pysteps.io.importers")
    pytest.importorskip("PIL")
    monkeypatch.setattr(meteoswiss, "_SHAPE", (files.SIDE, files.SIDE))
    pattern = write(tmp_path, shared_data / "raw")
    first = sorted(tmp_path.glob(pattern))[0]
    record = xvar.open(str(tmp_path / pattern))
    name = next(name for name, part in record.data_vars.items() if part.ndim == 3)
    values, _, metadata = getattr(importers, importer)(str(first), **options)
    own = record[name].isel(time=0).values
    own = np.where(own == -32, np.nanmin(values), own) if name == "DBZH" else own
    np.testing.assert_allclose(own, values, rtol=1e-5, atol=1e-6)
    metres = {"km": 1000.0, "m": 1.0}
    x = record["x"].values * metres[record["x"].attrs["units"]]
    west = metadata["x1"] * metres[metadata["cartesian_unit"]] - (380886.310 if write is files.fmi_pgm else 0)
    assert x[0] == pytest.approx(west, abs=1.01 * (x[1] - x[0]))  # its edge or its middle


def test_quality_of_ghrsst_and_the_surface_of_levels(tmp_path) -> None:
    for write in (files.ghrsst, files.cmems, files.roms):
        write(tmp_path)
    sst = xvar.open(str(tmp_path / "*GHRSST*.nc"))["sea_surface_temperature"]
    assert float(sst.min()) > 280
    assert float(sst.isnull().mean()) == pytest.approx(100 / files.SIDE**2)
    for pattern, name in (("cmems*.nc", "thetao"), ("ocean_his*.nc", "temp")):
        with pytest.warns(InputWarning, match="levels"):
            surface = xvar.open(str(tmp_path / pattern))[name]
        np.testing.assert_allclose(surface.isel({surface.dims[0]: 0}), files.sea(0) - 273.15, rtol=1e-5)


def test_folders_and_paths(tmp_path) -> None:
    folder = tmp_path / "radar"
    folder.mkdir()
    files.rmi(folder)
    names = sorted(folder.iterdir())
    for given in (folder, names, [str(name) for name in names], pathlib.Path(str(folder))):
        assert xvar.open(given).sizes["time"] == files.FRAMES
