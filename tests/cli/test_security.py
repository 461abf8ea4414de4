"""Files of the shell are from unknown sources: they are checked, and their text is escaped, unless --trusted."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xvar
from tests.cli.test_commands import call, own_warnings  # noqa: F401  (a fixture)
from tests.faults.images import warm
from tests.io.hostile import FILES, MARK, SECRET, secret

pytest.importorskip("zarr", minversion="3.0")
EVIL = "a\x1b[2J\x1b]0;owned\x07b\x9bc\u202e"
NAMES = (
    "hdf5-external-storage-as-CDF",
    "hdf5-deflate-bomb",
    "zarr2-pickle-filter",
    "zarr3-gzip-bomb",
    "zarr2-linked-chunk",
)


@pytest.mark.parametrize("one", [one for one in FILES if one.name in NAMES], ids=lambda one: one.name)
@pytest.mark.parametrize(
    "words",
    [
        ("info", "FILE"),
        ("check", "FILE"),
        ("status", "FILE"),
        ("assimilate", "FILE", "-o", "OUT"),
        ("forecast", "FILE", "-o", "OUT"),
        ("verify", "FILE", "FILE"),
        ("geographic", "FILE", "-o", "OUT"),
        ("plot", "FILE", "-o", "PICTURE"),
    ],
    ids=lambda words: words[0],
)
def test_commands_refuse_hostile_files(tmp_path, one, words) -> None:
    secret(tmp_path)
    names = {"FILE": str(one.make(tmp_path)), "OUT": str(tmp_path / "out.nc"), "PICTURE": str(tmp_path / "a.png")}
    done = call(*(names.get(word, word) for word in words))
    assert done.exit_code == 2, done.output
    assert "fix: " in done.stderr
    assert SECRET.decode() not in done.output
    assert not (tmp_path / MARK).exists()
    assert not (tmp_path / "out.nc").exists()


def test_trusted_switches_the_checks_off(tmp_path) -> None:
    import h5py

    warm().to_netcdf(tmp_path / "sea.nc")
    with h5py.File(tmp_path / "sea.nc", "a") as file:
        file["other"] = h5py.ExternalLink("elsewhere.nc", "/x")
    assert call("info", tmp_path / "sea.nc").exit_code == 2
    # netCDF itself may stumble over the link: what matters is that the check is not what refuses it.
    assert "an external link" not in call("info", tmp_path / "sea.nc", "--trusted").stderr


def plain(text: str) -> bool:
    return all(character.isprintable() or character == "\n" for character in text)


def test_text_of_files_is_escaped(tmp_path) -> None:
    record = warm().rename(sst="sea\u202etext")
    record["sea\u202etext"].attrs.update(long_name=EVIL, units="degree_Celsius", comment=EVIL)
    record.attrs["title"] = EVIL
    record.to_netcdf(tmp_path / "evil.nc")
    for words in (("info",), ("check",)):
        done = call(*words, tmp_path / "evil.nc")
        assert plain(done.stdout + done.stderr), done.output
    record["sea\u202etext"].attrs["units"] = EVIL
    record.to_netcdf(tmp_path / "units.nc")
    for words in (("info",), ("check",), ("assimilate", "-o", tmp_path / "out.nc")):
        done = call(*words, tmp_path / "units.nc")
        assert done.exit_code == 2
        assert plain(done.stdout + done.stderr), done.output
        assert "\\x1b[2J" in done.stdout + done.stderr


def test_reasons_of_failures_and_configurations_of_a_file_are_escaped(tmp_path) -> None:
    analysis = warm().var4d.assimilate()
    for name, value in analysis.attrs.items():
        analysis.attrs[name] = value.replace("sst", f"sst{EVIL}") if name.startswith("xvar_") else value
    analysis["status"] = analysis["status"].copy(data=np.full(analysis["status"].shape, 5, "int8"))
    analysis.attrs["xvar_failures"] = f'{{"0": "{EVIL}"}}'
    analysis.to_netcdf(tmp_path / "analysis.nc")
    for words in (("info",), ("status",)):
        done = call(*words, tmp_path / "analysis.nc")
        assert plain(done.stdout + done.stderr), done.output


def test_scores_are_no_markup(tmp_path) -> None:
    radar = xvar.datasets.sample()
    scores = radar.isel(time=slice(0, 4)).var4d.assimilate().var4d.forecast("5min").var4d.verify(radar)
    scores["threshold"].attrs["units"] = f"[bold]{EVIL}[/bold]"
    from xvar.cli.tables import print_scores

    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        import rich.console

        patch.setattr(rich.console.Console, "print", lambda self, table: lines.append(_text(table)))
        print_scores(scores)
    assert "[bold]" in lines[0]
    assert "\\x1b" in lines[0]


def _text(table) -> str:
    return "\n".join(str(cell) for column in table.columns for cell in column.cells)


HOSTILE_TOML = {
    "deep": b"a = " + b"[" * 100_000,
    "long-number": b"[assimilate]\nwindow = " + b"9" * 10_000,
    "not-text": b"\xff\xfe\x00",
    "no-table": b"assimilate = 3\n",
    "large": b"# " + b"x" * 2_000_000,
    "unknown": b"[assimilate]\noutput = '/etc/passwd'\n",
    "escapes": b'[assimilate]\n"a\\u001b[2J" = 1\n',
}


@pytest.mark.parametrize("name", HOSTILE_TOML)
def test_hostile_options_files(tmp_path, name) -> None:
    (tmp_path / "run.toml").write_bytes(HOSTILE_TOML[name])
    words = ("assimilate", "none.nc", "-o", tmp_path / "out.nc", "--config", tmp_path / "run.toml")
    done = call(*words)
    assert done.exit_code == 2
    assert "run.toml" in done.stderr
    assert plain(done.stderr)
    assert len(done.stderr) < 3000
    assert isinstance(done.exception, SystemExit)


def test_options_of_a_hostile_output(tmp_path) -> None:
    secret(tmp_path)
    (one,) = [one for one in FILES if one.name == "hdf5-external-link"]
    done = call("assimilate", "none.nc", "-o", tmp_path / "out.nc", "--config", one.make(tmp_path))
    assert done.exit_code == 2
    assert "external link" in done.stderr
    xr.Dataset(attrs={"xvar_options": "[assimilate]\nwindow = " + "9" * 9000}).to_netcdf(tmp_path / "long.nc")
    assert call("assimilate", "none.nc", "-o", tmp_path / "out.nc", "--config", tmp_path / "long.nc").exit_code == 2
