"""What a message says in Python, as the shell says it."""

from __future__ import annotations

import pytest
import typer

from tests.faults.images import warm
from xvar.cli.application import application
from xvar.cli.terminal import in_shell


@pytest.fixture(scope="module")
def command():
    return typer.main.get_command(application).commands["assimilate"]


@pytest.mark.parametrize(
    ("said", "typed"),
    [
        ('fix: assimilate("sea temperature")', "fix: xvar assimilate FILE 'sea temperature'"),
        ("fix: sort=True, or ds.sortby('time')", "fix: --sort, or ds.sortby('time')"),
        ('state them, units="..."', "state them, --units ..."),
        ("found units='mm h-1' for", "found --units 'mm h-1' for"),
        ("expected units= only where the file states none", "expected --units only where the file states none"),
        ("leave units= out; sort= too", "leave --units out; --sort too"),
        ("dx=..., dy=..., or", "--dx ..., --dy ..., or"),
        ("window=4, or a longer record", "--window 4, or a longer record"),
        ("save=('increment',)", "--save increment"),
        ('such as save=("increment", "cost_history")', "such as --save increment --save cost_history"),
        ("where it is missing (units='K')", "where it is missing (--units K)"),
        ("ds.var4d.assimilate().var4d.plot.cost()", "first xvar assimilate FILE -o analysis.nc"),
        (
            'fix: analysis.var4d.forecast("30min", members=20)',
            "fix: xvar forecast analysis.nc -o forecast.nc --lead 30min --members 20",
        ),
        ('quality={"dry_frames": False, "stripes": True} keeps', "--quality -dry_frames --quality stripes keeps"),
        ("another name, or overwrite=True: what", "another name, or --overwrite: what"),
        ("analysis = ds.var4d.assimilate(); analysis.var4d", "first xvar assimilate FILE -o analysis.nc"),
    ],
)
def test_options_and_calls_are_those_of_the_shell(command, said, typed) -> None:
    assert in_shell(said, command) == typed


@pytest.mark.parametrize(
    "said",
    [
        "strict=False refuses nothing",
        'ds.rename({"u": "image"}).var4d.assimilate("image")',
        "xarray.open_dataset(path, group='/a')",
        "minimizer=xvar.minimize.LBFGS(max_evaluations=...)",
        "ds.isel(y=slice(0, 10))",
    ],
)
def test_what_the_shell_has_no_word_for_stays(command, said) -> None:
    assert in_shell(said, command) == said


def test_what_a_message_says_mends_the_command(tmp_path) -> None:
    """Two variables, times out of order: the messages are followed word by word."""
    from typer.testing import CliRunner

    record = warm().isel(time=[1, 0, 2, 3])
    record.assign(salt=record["sst"]).to_netcdf(tmp_path / "sea.nc")
    words = ["assimilate", str(tmp_path / "sea.nc"), "-o", str(tmp_path / "analysis.nc")]
    told = CliRunner().invoke(application, words)
    assert told.exit_code == 2
    assert "fix: xvar assimilate FILE sst\n" in told.stderr
    told = CliRunner().invoke(application, [*words, "sst"])
    assert told.exit_code == 2
    assert "fix: --sort, or" in told.stderr
    told = CliRunner().invoke(application, [*words, "sst", "--sort"])
    assert told.exit_code == 0


def test_a_record_in_a_group_is_described(tmp_path) -> None:
    from typer.testing import CliRunner

    warm().to_netcdf(tmp_path / "sea.nc", group="images")
    told = CliRunner().invoke(application, ["info", str(tmp_path / "sea.nc")])
    assert told.exit_code == 2
    assert "--group images" in told.stderr
    told = CliRunner().invoke(application, ["info", str(tmp_path / "sea.nc"), "--group", "images"])
    assert told.exit_code == 0
    assert "sst" in told.stdout
