"""The documentation's page on pictures, the commands that draw, and the figures of the paper."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

pytest.importorskip("matplotlib")

import xvar
from tests.faults.codes import codes
from tests.records import analysis
from xvar.cli import application
from xvar.errors import InputError
from xvar.plot import write_animation

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    from matplotlib import pyplot

    pyplot.switch_backend("agg")
    monkeypatch.chdir(tmp_path)
    analysis().to_netcdf("analysis.nc")
    xvar.datasets.sample().to_netcdf("radar.nc")
    yield tmp_path
    pyplot.close("all")


@pytest.mark.long
def test_the_page_on_pictures_runs_as_written(folder) -> None:
    from matplotlib import pyplot

    names: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/pictures.md").read_text(encoding="utf-8"), re.DOTALL)
    for code in blocks:
        exec(code, names)
        pyplot.close("all")
    assert (folder / "storm.gif").read_bytes().startswith(b"GIF89a")


def test_pictures_from_the_shell(folder) -> None:
    run = CliRunner().invoke
    motion = ["plot", "analysis.nc", "-o", "motion.png", "--style", "colours"]
    assert run(application, motion).exit_code == 0
    steady = (folder / "motion.png").read_bytes()
    assert run(application, [*motion, "--overwrite", "--part", "total"]).exit_code == 0
    assert (folder / "motion.png").read_bytes() != steady
    assert run(application, ["forecast", "analysis.nc", "-o", "forecast.nc", "--lead", "10min"]).exit_code == 0
    done = run(
        application, ["plot", "forecast.nc", "radar.nc", "-o", "forecast.svg", "--kind", "forecast", "--window", "0"]
    )
    assert done.exit_code == 0
    done = run(application, ["animate", "analysis.nc", "radar.nc", "-o", "film.gif", "--lead", "5min", "--window", "0"])
    assert done.exit_code == 0
    from PIL import Image

    with Image.open("film.gif") as film:
        assert film.n_frames == 5  # four of the window and one ahead
    assert sorted(path.name for path in folder.iterdir()) == [
        "analysis.nc",
        "film.gif",
        "forecast.nc",
        "forecast.svg",
        "motion.png",
        "radar.nc",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("plot analysis.nc -o motion.txt", "a name that ends in .png"),
        ("plot analysis.nc -o nowhere/motion.png", "no folder"),
        ("plot analysis.nc -o radar.nc", "a name that ends in"),
        ("plot analysis.nc -o a.png --kind storm", "one of motion, field"),
        ("plot analysis.nc -o a.png --kind cost --style arrows", "--style of a picture of kind cost"),
        ("plot analysis.nc -o a.png --part mean", "--part steady"),
        ("plot analysis.nc -o a.png --kind residual", "save=('residual',)"),
        ("plot analysis.nc -o a.png --kind cost_history", "save=('cost_history',)"),
        ("plot analysis.nc radar.nc -o a.png --kind motion", "that of forecast or fan"),
        ("plot radar.nc -o a.png", "xvar_configuration"),
        ("animate analysis.nc -o film.avi", "a name that ends in .gif"),
        ("animate analysis.nc -o film.gif --window 7", "one of the 2"),
        ("view radar.nc --no-browser", "xvar_configuration"),
    ],
)
def test_a_picture_that_cannot_be_drawn_is_refused_by_the_command(folder, words, said) -> None:
    done = CliRunner().invoke(application, words.split())
    assert done.exit_code == 2
    assert said in done.output
    assert sorted(path.name for path in folder.iterdir()) == ["analysis.nc", "radar.nc"]


def test_a_film_without_ffmpeg_is_refused_before_it_is_drawn(folder, monkeypatch) -> None:
    from matplotlib.animation import FFMpegWriter

    monkeypatch.setattr(FFMpegWriter, "isAvailable", classmethod(lambda cls: False))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(InputError) as error:
        write_animation(None, "storm.mp4")
    assert codes(error.value) == ["missing-program"]
    done = CliRunner().invoke(application, ["animate", "analysis.nc", "-o", "film.mp4"])
    assert done.exit_code == 2
    assert "xvar[film]" in done.output
    assert not (folder / "film.mp4").exists()


def test_a_film_is_readable_by_common_players(folder) -> None:
    """H.264, 4:2:0 subsampling, even sides, and a frame for each time."""
    reader = pytest.importorskip("imageio_ffmpeg")
    words = ["animate", "analysis.nc", "radar.nc", "-o", "film.mp4", "--lead", "5min", "--window", "0"]
    assert CliRunner().invoke(application, words).exit_code == 0
    about = next(reader.read_frames("film.mp4"))
    assert about["codec"] == "h264"
    assert about["pix_fmt"].startswith("yuv420p")
    assert [side % 2 for side in about["size"]] == [0, 0]
    assert reader.count_frames_and_secs("film.mp4")[0] == 5  # four of the window and one ahead


@pytest.mark.long
def test_the_figures_of_the_paper_are_drawn_by_one_command(shared_data, tmp_path) -> None:
    command = [sys.executable, "examples/filoche2021_figures.py", str(tmp_path), "--windows", "2"]
    command += ["--radar", str(shared_data / "radar-knmi-20100826.nc")]
    command += ["--currents", str(shared_data / "currents-duacs-ionian-202401.nc")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert sorted(path.name for path in tmp_path.glob("*.png")) == [f"figure{number}.png" for number in range(2, 10)]
    assert done.stdout.count("\n") == 8
