"""F. Files, processes, clusters."""

from __future__ import annotations

import dask
import numpy as np
import pytest
import xarray as xr

from tests.faults.images import rainy, warm
from tests.faults.shell import shell
from tests.faults.table import elsewhere, fault, refused


@fault(68, "an input file that is missing", "refused before anything runs; one that goes missing on the way names its windows, or marks them where `errors=\"continue\"`")
def test_missing_file(tmp_path) -> str:
    code, text = shell("assimilate", tmp_path / "absent.nc", "-o", tmp_path / "out.nc")
    assert code == 2
    for word in ("absent.nc", "a file that exists", "fix:"):
        assert word in text
    return text.removeprefix("xvar: ").partition(", in the folder")[0]


@fault(69, "a truncated file, an HTML page, an empty file", "refused, with the name of the file")
def test_broken_files(tmp_path) -> str:
    rainy().to_netcdf(tmp_path / "good.nc")
    whole = (tmp_path / "good.nc").read_bytes()
    for name, content, word in (
        ("truncated.nc", whole[: len(whole) // 2], "no data that xarray can open"),
        ("page.nc", b"<html><body>404</body></html>", "no data that xarray can open"),
        ("empty.nc", b"", "empty, 0 bytes"),
    ):
        (tmp_path / name).write_bytes(content)
        code, text = shell("assimilate", tmp_path / name, "-o", tmp_path / "out.nc")
        assert code == 2
        for expected in (name, word, "download it again"):
            assert expected in text
        assert not (tmp_path / "out.nc").exists()
    return text.removeprefix("xvar: ")


elsewhere(70, "a worker that is killed", "run elsewhere, the same bits", "tests/test_distributed.py")
elsewhere(71, "a window that kills its workers", "given up after three deaths with the reason, the others complete", "tests/test_distributed.py")
elsewhere(72, "a window that raises", '`errors="raise"` names it, `errors="continue"` marks it', "tests/test_batches.py", "tests/runs/test_run.py")
elsewhere(73, "the whole run killed", "the same call does what is missing, the same bits", "tests/runs/test_run.py")
elsewhere(74, "killed in the middle of writing", "no partial NetCDF file ever; a Zarr store says `not_run`", "tests/runs/test_run.py")
elsewhere(75, "windows that are missing at the end", "refused; never taken for zeros", "tests/runs/test_run.py")
elsewhere(76, "resumed with other options, input or version", "refused, with what differs", "tests/runs/test_run.py")
elsewhere(77, "an output that exists", "refused, or resumed where it is of the same run; the old stays until the new is complete", "tests/runs/test_run.py", "tests/test_cli.py")
elsewhere(78, "a full disk, a folder that cannot be written", "an OSError with the path, no rubbish left", "tests/runs/test_run.py", "tests/test_cli.py")
elsewhere(79, "two runs in one place", "the second is refused with process and host", "tests/runs/test_lock.py")
elsewhere(80, "a Zarr region that cuts a chunk", "refused", "tests/runs/test_run.py")
elsewhere(81, "Ctrl-C", "what is finished is kept, the rest is listed", "tests/runs/test_run.py")
elsewhere(82, "processes forked after torch", "refused, with the setting", "tests/test_batches.py")
elsewhere(83, "more threads than cores", "one torch thread a task; warned of", "tests/test_batches.py")
elsewhere(84, "a model that cannot be pickled", "refused before it is sent, with the attribute", "tests/test_batches.py")
elsewhere(85, "a script without its main guard", "refused, with the line that is missing", "tests/test_distributed.py")


@fault(86, "lazy input (dask)", "stays lazy: nothing is computed at the call")
def test_lazy_input() -> str:
    def never(graph, keys, **options):
        raise AssertionError("computed")

    with dask.config.set(scheduler=never):
        result = warm(7).chunk(time=2).var4d.assimilate().var4d.forecast("4min")
    assert result["sst"].chunks is not None
    with dask.config.set(scheduler="synchronous"):
        xr.testing.assert_equal(result["sst"].compute(), warm(7).var4d.assimilate().var4d.forecast("4min")["sst"])
    return f"chunks of 'sst': {result['sst'].chunks[0]}"
