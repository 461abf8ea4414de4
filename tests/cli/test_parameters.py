"""Flags of commands are the table of options, in names, kinds and help."""

from __future__ import annotations

import pytest
import typer

from tests.cli.test_commands import call, own_warnings  # noqa: F401  (a fixture)
from tests.faults.images import warm
from xvar.cli.application import application
from xvar.cli.parameters import FLAGS, READING, value
from xvar.plan.options import OPTIONS

COMMANDS = typer.main.get_command(application).commands
#: Parameters of commands that are no options of `assimilate`.
OWN = {
    "assimilate": "inputs output workers scheduler site group time_from_name clip_negative trusted overwrite"
    " retry_failed accept_versions config show_config",
    "check": "inputs site group time_from_name clip_negative trusted as_json config show_config",
    "info": "inputs site group time_from_name clip_negative trusted as_json",
}


@pytest.mark.parametrize(("command", "names"), [("assimilate", FLAGS), ("check", FLAGS), ("info", READING)])
def test_flags_are_those_of_the_table(command, names) -> None:
    params = {param.name: param for param in COMMANDS[command].params}
    assert set(params) == {*names, *OWN[command].split()}
    for name in names:
        assert params[name].opts == [f"--{name.replace('_', '-')}"]
        assert params[name].help == OPTIONS[name].flag
        assert params[name].is_flag == OPTIONS[name].type.startswith("bool")
        assert params[name].multiple == OPTIONS[name].type.startswith("sequence")
        assert not params[name].required


def test_the_table_has_a_flag_for_what_words_can_say() -> None:
    assert {"method", "quality", "window", "save", "land", "observation_error"} <= set(FLAGS)
    assert not {"dynamics", "model_error", "minimizer", "penalties"} & set(FLAGS)


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("window", "4", 4),
        ("window", "15min", "15min"),
        ("stride", "-3", -3),
        ("batch", "500MiB", "500MiB"),
        ("batch", "8", 8),
        ("dtype", "float64", "float64"),
        ("sort", True, True),
        ("sort", False, None),
        ("save", [], None),
        ("save", ["residual"], ("residual",)),
        ("quality", ["stripes", "cadence"], ("stripes", "cadence")),
        ("quality", ["-stripes", "cadence"], {"stripes": False, "cadence": True}),
        ("observation_error", 0.5, 0.5),
        ("units", None, None),
    ],
)
def test_words_become_values_of_python(name, given, expected) -> None:
    assert value(OPTIONS[name], given) == expected


def test_the_method_is_chosen_in_the_shell_and_by_a_file(tmp_path) -> None:
    import xarray as xr

    warm().to_netcdf(tmp_path / "sea.nc")
    (tmp_path / "run.toml").write_text('[assimilate]\nmethod = "image_motion"\n')
    words = ["assimilate", tmp_path / "sea.nc", "-o"]
    for name, options in (("a.nc", ["--method", "image_motion"]), ("b.nc", ["--config", tmp_path / "run.toml"])):
        done = call(*words, tmp_path / name, *options)
        assert done.exit_code == 0, done.output
    with xr.open_dataset(tmp_path / "a.nc") as one, xr.open_dataset(tmp_path / "b.nc") as other:
        xr.testing.assert_equal(one, other)
        assert 'method = "image_motion"' in one.attrs["xvar_options"]
    done = call(*words, tmp_path / "c.nc", "--method", "image_motions")
    assert done.exit_code == 2
    assert "--method" in done.stderr
