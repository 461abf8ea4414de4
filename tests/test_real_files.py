"""Real files as they come: each goes through a bare call or is refused with the line that mends it; outputs are CF."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

from tests.cf.outputs import FILES
from xvar.errors import AnalysisWarning, InputError

pytestmark = pytest.mark.filterwarnings(
    # One file has two text variables with a doubled dimension; xarray says so when it opens it.
    "ignore:Duplicate dimension names present:UserWarning"
)
#: Those that hold several variables.
SEVERAL = {name for name in FILES if name.startswith(("currents", "ocean"))}
SIDE = 64


def opened(path: pathlib.Path, frames: int = 6, side: int = SIDE) -> xr.Dataset:
    """The first frames of a corner that has data; nothing else is done to the file."""
    record = xr.open_dataset(path)
    time = next(dim for dim in record.dims if "time" in str(dim).lower())
    name = FILES[path.name][0]
    y, x = record[name].dims[-2:]
    known = np.isfinite(record[name].isel({time: 0})).squeeze().values
    middle = [int(np.median(np.nonzero(known)[axis])) for axis in (0, 1)]
    corner = {
        dim: slice(max(0, min(at - side // 2, size - side)), max(side, min(at + side // 2, size)))
        for dim, at, size in zip((y, x), middle, known.shape, strict=True)
    }
    return record.isel({time: slice(0, frames), **corner})


def as_the_message_says(record: xr.Dataset) -> tuple[xr.Dataset, str | None, xr.Dataset]:
    """The analysis of a bare call; where it is refused, of the call that the message names, and the record of it."""
    frames = next(size for dim, size in record.sizes.items() if "time" in str(dim).lower())
    window = min(3, frames - 1)  # so that the truth of a forecast is left
    try:
        return record.var4d.assimilate(window=window), None, record
    except InputError as error:
        (problem,) = error.faults
        renamed = r'(?:rename one, ds\.rename\({"(\w+)": "\w+"}\)\.var4d\.)?'
        old, name = re.fullmatch(renamed + r'assimilate\("(\w+)"\)', problem.fix).groups()
        record = record if old is None else record.rename({old: name})
        return record.var4d.assimilate(name, window=window), name, record


def checked(paths: list[pathlib.Path]) -> tuple[int, str]:
    """The strict checker on many files at once."""
    checker = pathlib.Path(sys.executable).with_name("compliance-checker")
    run = subprocess.run(
        [str(checker), "-t", "cf:1.11", "-c", "strict", *map(str, paths)], capture_output=True, text=True, check=False
    )
    return run.returncode, run.stdout + run.stderr


@pytest.mark.filterwarnings(f"ignore::{AnalysisWarning.__module__}.{AnalysisWarning.__name__}")
@pytest.mark.filterwarnings("ignore:.*no value in any frame:xvar.errors.InputWarning")
@pytest.mark.filterwarnings("ignore:cloud_rims rejected 1 values:xvar.errors.InputWarning")
@pytest.mark.long
def test_every_file_goes_through_and_its_outputs_are_cf(shared_data, tmp_path) -> None:
    written, refused = [], set()
    for file in FILES:
        with opened(shared_data / file) as given:
            analysis, name, record = as_the_message_says(given)
            refused |= {file} if name else set()
            name = name or next(str(key) for key in analysis.data_vars if f"{key}_observed" in analysis)
            assert np.isfinite(analysis["u"]).any(), file
            assert set(analysis["status"].values) <= {1, 2, 3}
            forecast = analysis.isel(window=[0]).var4d.forecast(np.timedelta64(int(interval(analysis)), "s"))
            scores = forecast.var4d.verify(record[[name]])
            for label, result in (("analysis", analysis), ("forecast", forecast), ("scores", scores)):
                path = tmp_path / f"{label}-{file}"
                result.to_netcdf(path)
                with xr.open_dataset(path) as read:
                    xr.testing.assert_equal(read, result)
                written.append(path)
    assert refused <= SEVERAL
    assert len(refused) <= 4
    code, words = checked(written)
    assert code == 0, words[-4000:]


def interval(analysis: xr.Dataset) -> float:
    times = analysis["time"].values[0]
    return float((times[1] - times[0]) / np.timedelta64(1, "s"))


@pytest.mark.long
@pytest.mark.filterwarnings(f"ignore::{AnalysisWarning.__module__}.{AnalysisWarning.__name__}")
@pytest.mark.filterwarnings("ignore:.*no value in any frame:xvar.errors.InputWarning")
@pytest.mark.filterwarnings("ignore:cloud_rims rejected:xvar.errors.InputWarning")
@pytest.mark.parametrize("file", FILES)
def test_whole_files(shared_data, file) -> None:
    with xr.open_dataset(shared_data / file) as record:
        if file in SEVERAL:
            with pytest.raises(InputError, match=r"fix: .*assimilate"):
                record.var4d.assimilate()
            kept = [n for n in record.data_vars if n == "mask" or "grid_mapping_name" in record[n].attrs]
            record = record[[FILES[file][0], *kept]].rename({"u": "image"} if FILES[file][0] == "u" else {})
        time = next(dim for dim in record.dims if "time" in str(dim).lower())
        analysis = record.isel({time: slice(0, 13)}).var4d.assimilate()
        assert np.isfinite(analysis["u"]).any()
