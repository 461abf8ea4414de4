"""The shell on real files: what it prints, writes and refuses, and with which exit code."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys

import dask
import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

import xvar
from tests.runs.records import Failing, marked, shower
from xvar.cli import application
from xvar.io.writing import write


def run(*arguments, **options):
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "xvar", *map(str, arguments)], capture_output=True, text=True, check=False, **options
    )


def call(*arguments):
    """The command in this process."""
    return CliRunner().invoke(application, [str(word) for word in arguments])


@pytest.fixture(autouse=True)
def own_warnings():
    """The shell silences libraries for its own process; here they stay as they are."""
    import warnings

    with warnings.catch_warnings():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    """The radar record, its analysis and forecast, written by the shell."""
    where = tmp_path_factory.mktemp("shell")
    xvar.datasets.sample().to_netcdf(where / "radar.nc")
    done = run("assimilate", "radar.nc", "-o", "analysis.nc", cwd=where)
    assert (done.returncode, done.stderr) == (0, "")  # no bar: no terminal
    assert re.fullmatch(r"analysis.nc: 2 of 2 windows done, 0 failed, 0 not run, in [\d.]+ s\n", done.stdout)
    done = run("forecast", "analysis.nc", "-o", "forecast.nc", "--lead", "15min", cwd=where)
    assert (done.returncode, done.stdout, done.stderr) == (0, "forecast.nc: 3 lead times of 2 windows\n", "")
    return where


def test_the_files_hold_what_python_gives(folder) -> None:
    radar = xvar.datasets.sample()
    analysis = radar.var4d.assimilate()
    with xr.open_dataset(folder / "analysis.nc") as written:
        xr.testing.assert_equal(written, analysis)
    with xr.open_dataset(folder / "forecast.nc") as written:
        xr.testing.assert_equal(written, analysis.var4d.forecast("15min"))
    assert not list(folder.glob(".*"))


def test_verify_prints_a_table_and_writes_the_scores(folder) -> None:
    done = call("verify", folder / "forecast.nc", folder / "radar.nc", "-o", folder / "scores.nc")
    assert done.exit_code == 0, done.output
    for word in ("RMSE", "persistence", "CSI at 0.5 mm h-1", "FSS", "15 min", "16384"):
        assert word in done.stdout
    with xr.open_dataset(folder / "scores.nc") as scores:
        for lead in scores["rmse"].values:
            assert f"{lead:.3f}" in done.stdout
    assert "3 forecasts are without observations" in done.stdout


def test_verify_prints_json(folder) -> None:
    done = call(
        *("verify", folder / "forecast.nc", folder / "radar.nc", "--json", "--threshold", 0.5, "--threshold", 2),
        *("--scale", "20km"),
    )
    scores = json.loads(done.stdout)
    assert scores["threshold"] == {"dims": ["threshold"], "units": "mm h-1", "values": [0.5, 2.0]}
    assert scores["lead_time"]["values"] == [300, 600, 900]
    assert scores["scale"]["values"] == 20000
    assert scores["rmse_by_window"]["values"][1] == [None, None, None]


def test_options_reach_the_call(folder) -> None:
    done = call(
        *("assimilate", folder / "radar.nc", "rain", "-o", folder / "three.nc", "--window", 3, "--stride", "10min"),
        *("--dtype", "float64", "--save", "residual", "--save", "innovation"),
    )
    assert done.exit_code == 0, done.output
    with xr.open_dataset(folder / "three.nc") as analysis:
        assert analysis.sizes["step"] == 3
        assert analysis.sizes["window"] == 3
        assert analysis["u"].dtype == "float64"
        assert {"rain_residual", "rain_innovation"} <= set(analysis)


def test_a_pattern_opens_several_files_as_one_record(folder) -> None:
    radar = xvar.datasets.sample()
    for index in range(7):
        radar.isel(time=[index]).to_netcdf(folder / f"part_{index}.nc")
    done = call("assimilate", folder / "part_*.nc", "-o", folder / "parts.nc")
    assert done.exit_code == 0, done.output
    names = sorted(folder.glob("part_?.nc"))
    again = call("assimilate", *names, "rain", "-o", folder / "named.nc")
    assert again.exit_code == 0, again.output
    with xr.open_dataset(folder / "analysis.nc") as whole:
        for name in ("parts.nc", "named.nc"):
            with xr.open_dataset(folder / name) as parts:
                xr.testing.assert_allclose(parts[["u", "v"]], whole[["u", "v"]], rtol=1e-4)


@pytest.mark.parametrize("options", [{"kind": "mean"}, {"members": 3, "seed": 2}])
def test_a_kind_and_members_are_those_of_python(folder, options) -> None:
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    call("forecast", folder / "analysis.nc", "-o", folder / "kind.nc", "--lead", "5min", "--overwrite", *words)
    with xr.open_dataset(folder / "kind.nc") as written, xr.open_dataset(folder / "analysis.nc") as analysis:
        xr.testing.assert_equal(written, analysis.var4d.forecast("5min", **options))
    done = call("verify", folder / "kind.nc", folder / "radar.nc")
    assert ("CRPS" in done.stdout) == ("members" in options)


def test_a_forecast_without_parts_is_what_python_gives(folder) -> None:
    options = ("--lead", "5min", "--without", "growth", "--without", "transient")
    done = call("forecast", folder / "analysis.nc", "-o", folder / "less.nc", *options)
    assert done.exit_code == 0, done.output
    with xr.open_dataset(folder / "analysis.nc") as analysis, xr.open_dataset(folder / "less.nc") as less:
        xr.testing.assert_equal(less, analysis.var4d.forecast("5min", without=("transient", "growth")))


def test_zarr_is_written_and_read(folder) -> None:
    pytest.importorskip("zarr")
    done = call("assimilate", folder / "radar.nc", "-o", folder / "analysis.zarr")
    assert done.exit_code == 0, done.output
    done = call("forecast", folder / "analysis.zarr", "-o", folder / "from_zarr.nc", "--lead", "15min")
    assert done.exit_code == 0, done.output
    with xr.open_dataset(folder / "from_zarr.nc") as one, xr.open_dataset(folder / "forecast.nc") as other:
        xr.testing.assert_equal(one, other)
    done = call("assimilate", folder / "radar.nc", "-o", folder / "analysis.zarr")
    assert done.exit_code == 0, done.output
    other = ("assimilate", folder / "radar.nc", "-o", folder / "analysis.zarr", "--window", "3")
    assert call(*other).exit_code == 2
    done = call(*other, "--overwrite")
    assert done.exit_code == 0, done.output
    told = call("status", folder / "analysis.zarr", "--json")
    assert told.exit_code == 0
    expected = {"windows": 3, "done": 3, "failed": {}, "not_run": [], "outcomes": {"converged": 3}, "running": None}
    assert json.loads(told.stdout) == {**expected, "damaged": []}
    (folder / "analysis.zarr" / "x" / "zarr.json").write_text("{}")
    assert call("status", folder / "analysis.zarr", "--trusted").exit_code == 0
    told = call("status", folder / "analysis.zarr", "--verify", "--trusted")
    assert told.exit_code == 4
    assert "zarr.json is damaged" in told.stdout
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize("name", ["a.zarr", "a.nc"])
def test_status_tells_a_run_that_is_done_from_one_that_is_not(name, tmp_path) -> None:
    pytest.importorskip("zarr")
    store, options = tmp_path / name, {"window": 4, "minimizer": Failing(max_evaluations=12, ftol=0.99), "batch": 1}

    def stop(report):
        if report.done + len(report.failed) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), dask.config.set(scheduler="synchronous"):
        xvar.run(marked(shower(), 6), store, **options, errors="continue", progress=stop)
    told = call("status", store)
    assert told.exit_code == 4
    assert "2 not run" in told.stdout
    assert "the same xvar assimilate goes on" in told.stdout
    assert call("status", store, "--json").exit_code == 4
    xvar.run(marked(shower(), 6), store, **options, errors="continue")
    told = call("status", store)
    assert told.exit_code == 3
    assert told.stdout.splitlines() == [
        f"{store}: 3 of 4 windows done, 1 failed, 0 not run",
        "outcomes: 3 converged, 1 failed",
        "window 1 failed: ArithmeticError: no motion in this frame",
    ]
    assert call("status", tmp_path / "b.zarr").exit_code == 2


def test_info_of_an_analysis_is_its_summary(folder) -> None:
    done = call("info", folder / "analysis.nc")
    assert done.exit_code == 0, done.output
    told = json.loads(call("info", folder / "analysis.nc", "--json").stdout)["analysis"]
    with xr.open_dataset(folder / "analysis.nc") as analysis:
        assert told == str(analysis.var4d.summary()).splitlines()
    for line in told:
        assert line.rstrip() in done.stdout


def test_info_says_what_was_recognised(folder) -> None:
    done = call("info", folder / "radar.nc")
    assert done.exit_code == 0, done.output
    for words in ("rain", "0.01 mm (5 min)-1", "dy 1200 m, dx 1200 m", "y descending", "300 s", "2 of 4 frames"):
        assert words in done.stdout
    gap = folder / "gap.nc"
    xvar.datasets.sample().isel(time=[0, 1, 2, 3, 6]).to_netcdf(gap)
    facts = json.loads(call("info", gap, "--json").stdout)
    assert facts["gaps"] == "2018-01-03T23:00:00 to 2018-01-03T23:15:00 (between windows)"
    assert facts["variable"] == "rain"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["assimilate", "absent.nc", "-o", "out.nc"], "no file 'absent.nc'"),
        (["assimilate", "absent_*.nc", "-o", "out.nc"], "no file that matches 'absent_*.nc'"),
        (["assimilate", "text.nc", "-o", "out.nc"], "text.nc: no known format"),
        (["assimilate", "radar.nc", "-o", "analysis.nc", "--window", "3"], "--overwrite"),
        (["assimilate", "radar.nc", "-o", "out.txt"], "ends in .nc or .zarr"),
        (["assimilate", "radar.nc", "-o", "nowhere/out.nc"], "mkdir -p nowhere"),
        (["assimilate", "radar.nc", "rainn", "-o", "out.nc"], "did you mean 'rain'?"),
        (["assimilate", "radar.nc", "-o", "out.nc", "--window", "9"], "--window 9"),
        (["assimilate", "radar.nc", "-o", "out.nc", "--dtype", "int8"], "--dtype int8"),
        (["forecast", "radar.nc", "-o", "out.nc"], "expected an analysis"),
        (["forecast", "analysis.nc", "-o", "out.nc", "--lead", "soon"], "--lead soon"),
        (["forecast", "analysis.nc", "-o", "out.nc", "--without", "rain"], "--without rain"),
        (["verify", "radar.nc", "radar.nc"], "neither a forecast nor an analysis"),
        (["assimilate", "radar.nc"], "--output"),
        (["assimilat"], "assimilat"),
    ],
)
def test_problems_are_messages_and_exit_code_2(folder, arguments, message, monkeypatch) -> None:
    (folder / "text.nc").write_text("no data")
    monkeypatch.chdir(folder)
    for name, value in {"COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    done = call(*arguments)
    assert done.exit_code == 2, done.output
    assert message in done.output
    assert "Traceback" not in done.output
    assert done.stdout == ""
    assert not (folder / "out.nc").exists()


def test_a_problem_in_a_process_of_its_own(folder) -> None:
    done = run("assimilate", "absent.nc", "-o", "out.nc", cwd=folder)
    assert done.returncode == 2
    assert done.stderr.startswith("xvar: found no file 'absent.nc'")
    assert "Traceback" not in done.stderr


def test_what_fails_leaves_what_was_there(folder, monkeypatch) -> None:
    target = folder / "kept.nc"
    write(xr.Dataset({"a": 1}), target)

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(xr.Dataset, "to_netcdf", fail)
    done = call("forecast", folder / "analysis.nc", "-o", target, "--overwrite")
    assert done.exit_code == 2
    assert "No space left" in done.output
    monkeypatch.undo()
    with xr.open_dataset(target) as kept:
        assert list(kept) == ["a"]
    assert not list(folder.glob(".*"))


def test_version_and_help() -> None:
    assert call("--version").stdout.strip() == f"xvar {xvar.__version__}"
    text = call("--help").stdout
    for command in ("assimilate", "forecast", "verify", "info", "demo"):
        assert command in text
        assert call(command, "--help").exit_code == 0
    assert "Exit codes" in text


def test_help_starts_fast() -> None:
    """Not a time: the modules that take it."""
    code = "import sys; from xvar.cli import application\ntry: application(['--help'])\nexcept SystemExit: pass\n"
    code += "heavy = 'torch', 'scores', 'matplotlib', 'cf_xarray', 'dask.array'\n"
    code += "print([name for name in heavy if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_demo_prints_scores_and_draws_a_picture(tmp_path) -> None:
    image = pytest.importorskip("matplotlib.image")
    done = run("demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "persistence" in done.stdout
    assert len(re.findall(r"\d+\.\d+", done.stdout)) >= 6
    assert "Etalab" in done.stdout
    picture = tmp_path / "xvar-demo.png"
    assert str(picture) in done.stdout
    assert image.imread(picture).std() > 0.05
    with xr.open_dataset(tmp_path / "xvar-demo.nc") as analysis:
        assert analysis.sizes["window"] == 1
        # The storm goes east, whichever way the rows run.
        assert float(analysis["u"].mean()) > 30
        assert np.isfinite(analysis["u"]).all()


@pytest.mark.long
def test_the_demo_without_matplotlib_says_what_brings_the_picture(tmp_path) -> None:
    (tmp_path / "matplotlib.py").write_text("raise ImportError('none here')")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = run("demo", cwd=tmp_path, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
    assert "xvar[plot]" in done.stdout
    assert not (tmp_path / "xvar-demo.png").exists()


def test_a_nowcast_is_what_python_gives_and_its_line_is_on_standard_output(folder) -> None:
    radar = xvar.datasets.sample()
    for index in range(7):
        radar.isel(time=[index]).to_netcdf(folder / f"frame_{index}.nc")
    options = ("--lead", "10min", "--members", 3, "--above", 1, "--window", 3)
    done = run("nowcast", "frame_?.nc", "-o", "nowcast.nc", *options, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(
        r"nowcast.nc: 2 lead times from 2018-01-03T23:15:00; the forecast before: RMSE [\d.]+ at 10 min, persistence "
        r"[\d.]+\n",
        done.stdout,
    )
    with xr.open_dataset(folder / "nowcast.nc") as written, xr.open_dataset(folder / "radar.nc") as whole:
        xr.testing.assert_equal(written, xvar.nowcast(whole, "10min", members=3, above=(1,), window=3))


def test_netcdf_for_a_pipe_leaves_standard_output_to_it(folder) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "xvar", "forecast", "analysis.nc", "-o", "-", "--lead", "5min"],
        capture_output=True,
        check=True,
        cwd=folder,
    )
    assert done.stdout[:4] == b"\x89HDF"
    assert done.stderr == b"-: 1 lead times of 2 windows\n"
