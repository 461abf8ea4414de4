"""Options from a file, and NetCDF through pipes: what the shell takes besides words and names."""

from __future__ import annotations

import subprocess
import sys

import pytest
import xarray as xr

import xvar
from tests.cli.test_commands import call, own_warnings, run  # noqa: F401  (a fixture)
from xvar.cli.configuration import ATTRIBUTE


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("options")
    xvar.datasets.sample().isel(y=slice(40, 88), x=slice(40, 80)).to_netcdf(where / "radar.nc")
    return where


def shown(*arguments) -> str:
    result = call(*arguments, "--show-config")
    assert result.exit_code == 0, result.output
    return result.output


def test_what_is_shown_is_what_a_file_gives(folder) -> None:
    words = ["assimilate", folder / "radar.nc", "-o", folder / "none.nc", "--window", "15min", "--save", "residual"]
    text = shown(*words, "--dx", "1000", "--sort")
    (folder / "run.toml").write_text(text)
    assert text.splitlines()[1:] == [
        "[assimilate]",
        'window = "15min"',
        "dx = 1000.0",
        "sort = true",
        "save = [",
        '    "residual",',
        "]",
    ]
    assert shown(*words[:4], "--config", folder / "run.toml") == text
    assert not (folder / "none.nc").exists()


def test_the_command_line_goes_before_the_file(folder) -> None:
    (folder / "few.toml").write_text('[assimilate]\nwindow = 3\nstride = 1\n[forecast]\nlead = "10min"\n')
    text = shown("assimilate", folder / "radar.nc", "-o", "a.nc", "--config", folder / "few.toml", "--window", "4")
    assert 'window = "4"' in text
    assert 'stride = "1"' in text
    assert "lead" not in text
    assert 'lead = "10min"' in shown("forecast", "a.nc", "-o", "f.nc", "--config", folder / "few.toml")


def test_an_output_keeps_its_options_and_gives_them_again(folder) -> None:
    first, again = folder / "first.nc", folder / "again.nc"
    assert call("assimilate", folder / "radar.nc", "-o", first, "--window", "3").exit_code == 0
    assert call("assimilate", folder / "radar.nc", "-o", again, "--config", first).exit_code == 0
    with xr.open_dataset(first) as one, xr.open_dataset(again) as other:
        assert one.sizes["step"] == 3
        assert 'window = "3"' in one.attrs[ATTRIBUTE]
        assert other.attrs[ATTRIBUTE] == one.attrs[ATTRIBUTE]
        xr.testing.assert_equal(one, other)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[assimilate]\nwindw = 4\n", ["no option 'windw'", "did you mean 'window'"]),
        ("[assimilate]\noutput = 'x.nc'\n", ["no option 'output'"]),
        ("window =", ["bad.toml", "a file of TOML", "--show-config"]),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(folder, text, parts) -> None:
    (folder / "bad.toml").write_text(text)
    result = call("assimilate", folder / "radar.nc", "-o", folder / "no.nc", "--config", folder / "bad.toml")
    assert result.exit_code == 2
    assert all(part in result.output for part in parts)
    assert not (folder / "no.nc").exists()


def test_a_file_that_is_not_there_or_has_no_options(folder) -> None:
    words = ["assimilate", folder / "radar.nc", "-o", folder / "no.nc", "--config"]
    assert "nowhere.toml" in call(*words, folder / "nowhere.toml").output
    assert ATTRIBUTE in call(*words, folder / "radar.nc").output


@pytest.mark.long
def test_a_chain_of_pipes_gives_what_files_give(folder) -> None:
    xvar_command = f"{sys.executable} -m xvar"
    chain = f"cat radar.nc | {xvar_command} assimilate - -o - | {xvar_command} forecast - -o - --lead 15min > piped.nc"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {chain}"], cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line[:3] for line in done.stderr.splitlines()] == [b"-: "] * 2  # their last lines leave the pipe alone
    record = xvar.datasets.sample().isel(y=slice(40, 88), x=slice(40, 80))
    with xr.open_dataset(folder / "piped.nc") as piped:
        xr.testing.assert_equal(piped, record.var4d.assimilate().var4d.forecast("15min"))


def test_nothing_comes_in(folder) -> None:
    done = run("info", "-", cwd=folder, stdin=subprocess.DEVNULL)
    assert done.returncode == 2
    assert "empty" in done.stderr


def test_two_inputs_from_one_pipe_are_refused(folder) -> None:
    done = run("info", "-", "-", cwd=folder, stdin=subprocess.DEVNULL)
    assert done.returncode == 2
    assert "- more than once" in done.stderr
