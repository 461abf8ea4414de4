"""The pages say what works: their code is run as it is written."""

from __future__ import annotations

import pathlib
import re
import sys
import types

import pytest

import xvar

ROOT = pathlib.Path(__file__).parents[1]


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


def test_the_nowcasting_page_runs_as_written() -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    names: dict[str, object] = {}
    try:
        for code in blocks("docs/nowcasting.md"):
            if "open_mfdataset" not in code:
                exec(code, names)
    finally:
        pyplot.close("all")
    assert "scores" in names


def test_the_page_on_currents_runs_as_written(shared_data, monkeypatch) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    monkeypatch.chdir(shared_data)
    names: dict[str, object] = {}
    try:
        for code in blocks("docs/currents.md"):
            exec(code, names)
    finally:
        pyplot.close("all")
    assert "scores" in names


def test_the_page_on_operators_of_your_own_runs_as_written(monkeypatch) -> None:
    page = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", page)  # where its dataclass looks for its names
    for code in blocks("docs/own-operators.md"):
        exec(code, vars(page))
    conformance = page.TestTapered()
    conformance.test_it_is_symmetric()
    conformance.test_solve_inverts_apply()
    conformance.test_adjoint_of_the_root()
    conformance.test_samples_have_the_stated_covariance()


def test_the_example_of_the_readme_runs(tmp_path, monkeypatch) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    xvar.datasets.sample().to_netcdf(tmp_path / "radar.nc")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    try:
        for code in blocks("README.md")[:2]:  # the third names data of the reader's own
            exec(code, names)
    finally:
        pyplot.close("all")
    assert "scores" in names


def test_the_pictures_of_the_pages_are_there_and_small() -> None:
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for link in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).stat().st_size < 200_000
