"""What options do not take is refused, with the nearest that would do, wherever they are given."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
import xarray as xr

import xvar
from tests.faults.codes import codes
from tests.runs.records import OPTIONS, shower

TYPOS: list[tuple[dict[str, Any], str]] = [
    ({"windw": 4}, "did you mean 'window'?"),
    ({"backgroud": "cycled"}, "did you mean 'background'?"),
    ({"background": "cyled"}, "did you mean 'cycled'?"),
    ({"window": "15mn"}, "window='15mn'; expected a positive duration"),
    ({"stride": 0}, "stride=0"),
    ({"partial": "kep"}, "did you mean 'keep'?"),
    ({"constraint": "weka"}, "did you mean 'weak'?"),
    ({"dynamics": "advecton"}, "did you mean 'advection'?"),
    ({"dtype": "flot32"}, "did you mean 'float32'?"),
    ({"device": "cdua"}, "did you mean 'cuda'?"),
    ({"device": "cuda:one"}, "fix: cuda:0"),
    ({"errors": "continu"}, "did you mean 'continue'?"),
    ({"land": "never_vald"}, "did you mean 'never_valid'?"),
    ({"save": ("inovation",)}, "did you mean 'innovation'?"),
    ({"save": "residual"}, r"save=\('residual',\)"),
    ({"batch": "500MB of"}, "batch='500MB of'"),
    ({"sort": "yes"}, "sort=True"),
    ({"minimizer": "lbfgs"}, r"xvar\.minimize\.LBFGS"),
    ({"observation": "points"}, "observation= with method='advection'"),
    ({"observation_error": "small"}, "expected a positive number"),
    ({"background_error": "Matern"}, "a specification of xvar.covariance"),
]


@pytest.mark.parametrize(("options", "words"), TYPOS, ids=[str(options) for options, _ in TYPOS])
def test_typos_are_refused_wherever_they_are_made(options: dict[str, Any], words: str, tmp_path: pathlib.Path) -> None:
    record = shower(5)
    with pytest.raises(xvar.InputError, match=words) as refused:
        record.var4d.assimilate(**options)
    with pytest.raises(xvar.InputError, match=words):
        xvar.run(record, tmp_path / "a.zarr", **options)
    assert list(tmp_path.iterdir()) == []
    if options.keys() <= {"windw", "backgroud"}:
        with pytest.raises(xvar.InputError, match=words):
            record.var4d.check(**options)
    else:
        assert record.var4d.check(**options).faults[0] == refused.value.faults[0]


def test_the_options_of_a_run_itself_are_near_matches_too(tmp_path: pathlib.Path) -> None:
    with pytest.raises(xvar.InputError, match="did you mean 'workers'"):
        xvar.run(shower(5), tmp_path / "a.zarr", worker=2)


def test_a_check_is_of_the_call_that_is_meant() -> None:
    record = shower(5)
    assert not record.var4d.check(window=9).passed  # longer than the record
    report = record.chunk(time=1).var4d.check(window=3, background="cycled", save=("residual",))
    assert report.faults == ()


def test_points_refuse_the_same_values() -> None:
    table = xr.Dataset({"value": ("point", [1.0])})
    with pytest.raises(xvar.InputError) as caught:
        table.var4d.assimilate(dtype="flaot64")
    assert codes(caught.value) == ["option-value", "background-missing"]
    assert OPTIONS["minimizer"]  # one that is taken, everywhere in these tests
