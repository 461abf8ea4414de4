"""What starting up costs: `import xvar` and `xvar --help` leave the heavy libraries alone."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ["torch", "dask.array", "distributed", "cartopy", "matplotlib.pyplot", "scores"]


def loaded_by(code: str) -> list[str]:
    """Names of HEAVY that a fresh interpreter has loaded after the code."""
    report = f"import json, sys; print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    run = subprocess.run([sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    loaded: list[str] = json.loads(run.stdout.splitlines()[-1])
    return loaded


def test_the_probe_sees_what_is_loaded() -> None:
    assert loaded_by("import dask.array") == ["dask.array"]


def test_import_xvar_is_light() -> None:
    assert loaded_by("import xvar") == []


def test_the_accessor_is_there_and_light() -> None:
    assert loaded_by("import xarray, xvar; xarray.Dataset.var4d; xarray.DataArray.var4d") == []


@pytest.mark.parametrize("arguments", [["--help"], ["assimilate", "--help"]])
def test_help_is_light(arguments: list[str]) -> None:
    code = f"""
import sys
from xvar.cli import main
sys.argv = ["xvar", *{arguments!r}]
try:
    main()
except SystemExit as end:
    assert end.code in (None, 0), end.code
"""
    assert loaded_by(code) == []


def test_sample_is_light() -> None:
    assert loaded_by("import xvar.datasets; xvar.datasets.sample()") == []


def test_info_is_light(tmp_path) -> None:
    """What a file says of itself needs no solver."""
    code = f"""
import sys
import xvar.datasets
xvar.datasets.sample().to_netcdf({str(tmp_path / "radar.nc")!r})
from xvar.cli import main
sys.argv = ["xvar", "info", {str(tmp_path / "radar.nc")!r}, "--json"]
try:
    main()
except SystemExit as end:
    assert end.code in (None, 0), end.code
"""
    assert "torch" not in loaded_by(f"{code}\nprint()")
