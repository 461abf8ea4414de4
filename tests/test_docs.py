"""Code of the pages runs as written, and their statements hold."""

from __future__ import annotations

import importlib.util
import json
import pathlib
import pkgutil
import re
import shlex
import shutil
import sys
import types
from collections.abc import Iterator

import pytest
import xarray as xr
from typer.testing import CliRunner

import xvar
from tests import options
from xvar.cf.metadata import STATUS
from xvar.cli import application

ROOT = pathlib.Path(__file__).parents[1]


def blocks(page: str, fence: str = r"(?:python|\{code-cell\} python)") -> list[str]:
    """The code of a page: blocks in Python, and the cells of a notebook without their options."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"```{fence}\n(?::[^\n]*\n)*(.*?)```", text, re.DOTALL)


@pytest.fixture
def page(tmp_path, monkeypatch) -> Iterator[types.ModuleType]:
    """Return the module that the code of a page runs in; dataclasses look up their names in a module."""
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    yield module
    pyplot.close("all")


def run(page: types.ModuleType, code: list[str]) -> None:
    for block in code:
        exec(block, vars(page))


def test_the_first_picture_in_five_lines(page) -> None:
    xvar.datasets.sample().to_netcdf("radar.nc")
    (code,) = blocks("docs/installation.md")
    run(page, [code])
    assert len(list(filter(None, code.splitlines()))) == 5
    assert pathlib.Path("motion.png").read_bytes().startswith(b"\x89PNG")


def test_the_tutorial_of_the_nowcaster_runs_as_written(page) -> None:
    run(page, blocks("docs/tutorials/nowcaster.md"))
    assert 40 < float(page.analysis["u"].mean()) < 60  # "moves east at 50 m/s"
    assert (page.scores["rmse"] < 0.6 * page.scores["rmse_persistence"]).all()
    with xr.open_dataset("forecast.nc") as forecast:
        assert forecast.sizes["lead_time"] == 3


def test_the_tutorial_of_ensembles_runs_as_written(page) -> None:
    run(page, blocks("docs/tutorials/ensembles.md"))
    assert (page.scores["crps_skill"] > 0.5).all()
    assert (abs(page.scores["spread_over_error"] - 1) < 0.3).all()  # "near 1"
    sharp, mean = page.errors
    assert mean < sharp  # "the least squared error"
    assert page.heavy.sizes["lead_time"] == 3
    page.radar.to_netcdf("radar.nc")
    (commands,) = blocks("docs/tutorials/ensembles.md", "sh")
    for command in commands.splitlines():
        done = CliRunner().invoke(application, shlex.split(command)[1:])
        assert done.exit_code == 0, done.output
    for name in ("probability.png", "fan.png"):
        assert pathlib.Path(name).read_bytes().startswith(b"\x89PNG")


def test_the_page_on_uncertainty_runs_as_written(page) -> None:
    run(page, blocks("docs/tutorials/uncertainty.md"))
    assert 0 < page.of_mean < page.typical
    assert float(page.diagnostics["cost_ratio"].max()) < 1
    assert "observation_error=" in page.diagnostics.attrs["comment"]


def test_the_tutorial_of_the_oceanographer_runs_as_written(page) -> None:
    run(page, blocks("docs/tutorials/oceanographer.md", r"\{code-cell\} python"))
    assert (page.scores["vector_correlation"] > 0.97).all()
    assert (page.skill["rmse"] < 0.6 * page.skill["rmse_persistence"]).all()
    assert page.lazy["u"].chunks is not None
    assert float(abs(page.first["u"] - page.analysis["u"].isel(window=0, step=-1)).mean()) < 0.01


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:trajectories cross in 3 of 3 windows:xvar.errors.AnalysisWarning")
@pytest.mark.filterwarnings("ignore:cloud_rims rejected:xvar.errors.InputWarning")
def test_the_tutorial_of_the_oceanographer_runs_on_the_real_files(page, shared_data, monkeypatch) -> None:
    monkeypatch.chdir(shared_data)
    run(page, blocks("docs/tutorials/oceanographer.md", "python"))
    assert float(page.scores["vector_correlation"][-1]) > 0.8
    assert page.judged["rmse"][0] > page.judged["rmse_persistence"][0]  # "no nearer"


@pytest.mark.filterwarnings("ignore:1 of 1 windows not converged")  # as the page says
@pytest.mark.long
def test_the_tutorial_of_the_researcher_runs_as_written(page) -> None:
    run(page, blocks("docs/tutorials/researcher.md"))
    error = (page.fields - page.last).std(["y", "x"])
    assert error.sel(of="analysis") < 0.2 * error.sel(of="background")
    right, wrong = (2 * float(one["cost"][0, 1]) / page.count for one in (page.analysis, page.still))
    assert right < 1.15  # "about the number of observations"
    assert wrong > 1.3
    assert float((page.innovation * page.residual).mean()) ** 0.5 == pytest.approx(0.02, rel=0.1)
    assert (page.still["height"][0, -1] - page.last).std() > 2 * error.sel(of="analysis")


@pytest.mark.long
def test_the_tutorial_of_learning_runs_as_written(page) -> None:
    run(page, blocks("docs/tutorials/learning.md"))
    assert page.closed > 0.9
    assert page.without > 4 * page.perfect
    history = page.learned.history["held_out_cost"].values
    assert history.min() < 0.75 * history[0]
    assert page.windows.cost(page.controls).mean() < page.cost  # by the last step


@pytest.mark.parametrize(
    "name",
    ["cf-output", pytest.param("cycling", marks=pytest.mark.long), "gpu", "own-model", "own-operator", "resume"],
)
def test_the_how_to_pages_run_as_written(page, name) -> None:
    xvar.datasets.sample().to_netcdf("radar.nc")
    run(page, blocks(f"docs/howto/{name}.md"))
    expected = {
        "cf-output": lambda: all(pathlib.Path(f"{file}.nc").exists() for file in ("analysis", "motion", "record")),
        "cycling": lambda: float(abs(page.error).mean()) < 0.5 and page.lagged.sizes["window"] == 18,
        "gpu": lambda: page.analysis.sizes["window"] == 2,
        "own-model": lambda: page.forecast.sizes["lead_time"] > 0,
        "own-operator": lambda: operators_are_as_stated(page),
        "resume": lambda: page.done.sizes["window"] == page.report.windows == 2,
    }
    assert expected[name]()


@pytest.mark.long
def test_the_page_on_operations_runs_as_written(page) -> None:
    pathlib.Path("radar").mkdir()
    for index, frame in enumerate(xvar.datasets.sample().transpose("time", ...)["time"].values):
        xvar.datasets.sample().sel(time=[frame]).to_netcdf(f"radar/{index}.nc")
    shell = blocks("docs/howto/operations.md", "sh")
    code = blocks("docs/howto/operations.md")
    for command, block in zip(shell, code, strict=False):
        pathlib.Path("out").mkdir(exist_ok=True)
        done = CliRunner().invoke(application, shlex.split(command)[1:])
        assert done.exit_code == 0, done.output
        if "follow" in command:
            assert len(list(pathlib.Path("out").glob("*.png"))) == 6
            shutil.rmtree("out")
        run(page, [block])
    run(page, code[2:])
    with xr.open_dataset("nowcast.nc") as written:
        xr.testing.assert_equal(written, page.nowcast)
    assert page.scores.notnull().any()
    assert CliRunner().invoke(application, ["status", "out/status.json"]).exit_code == 4  # it has ended


def test_the_page_on_exports_runs_as_written(page) -> None:
    pytest.importorskip("rioxarray")
    run(page, blocks("docs/howto/exports.md"))
    assert len(page.arrows["features"]) == len(page.table) == 256
    assert page.fastest["speed"] < 80
    (commands,) = blocks("docs/howto/exports.md", "sh")
    for command in commands.splitlines():
        done = CliRunner().invoke(application, [*shlex.split(command)[1:], "--overwrite"])
        assert done.exit_code == 0, done.output
    assert json.loads(pathlib.Path("arrows.geojson").read_text()) == page.arrows
    assert json.loads(pathlib.Path("areas.geojson").read_text()) == page.areas


def operators_are_as_stated(page) -> bool:
    speed = (page.winds["u"] ** 2 + page.winds["v"] ** 2)[0, -1] ** 0.5
    true = (page.u**2 + page.v**2) ** 0.5
    assert float((speed - true).std()) < 0.15 < 0.2 * float(((5**2 + 2.5**2) ** 0.5 - true).std())
    assert page.rmse(page.rain, "water", page.water) < 0.05
    assert page.rmse(page.both, "sst", page.temperature) < 0.8 * page.rmse(page.alone, "sst", page.temperature)
    for name, true in (("constant", 1.5), ("angle", 0.8)):
        found = page.sounding[f"tb_bias_{name}"].item()
        assert abs(found - true) < 4 * page.sounding[f"tb_bias_{name}_std"].item()
    assert int(page.sounding["rejected_by_check"].sum()) == 2  # a ship, in both channels
    return bool((page.analysis["observation_quality"] == 0).all())


@pytest.mark.filterwarnings("ignore:variable 'temperature'. .* have no value in any frame")  # as the page says
def test_the_page_on_several_sources_runs_as_written(page) -> None:
    code = blocks("docs/howto/several-sources.md")
    run(page, code[:2])
    assert page.error(page.both) < 0.9 * page.error(page.alone)  # 0.64 to 0.83, by rounding
    run(page, code[2:])
    assert page.distance(page.both) < 0.8 * page.distance(page.alone)
    assert page.analysis["second_offset"].item() == pytest.approx(0.4, abs=0.1)


def test_the_page_on_options_has_the_table_and_runs_as_written(page) -> None:
    text = options.PAGE.read_text(encoding="utf-8")
    assert text == options.renewed(text), "python -m tests.options renews it"
    run(page, blocks("docs/options.md"))


def test_the_page_on_untrusted_files_runs_as_written(page) -> None:
    run(page, blocks("docs/security.md"))
    assert page.radar.sizes["time"] == 7


def test_the_page_on_covariances_of_your_own_runs_as_written(page) -> None:
    run(page, blocks("docs/howto/own-covariance.md"))
    conformance = page.TestTapered()
    conformance.test_it_is_symmetric()
    conformance.test_solve_inverts_apply()
    conformance.test_adjoint_of_the_root()
    conformance.test_samples_have_the_stated_covariance()


@pytest.mark.long
@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::xvar.execution.workers.WorkerWarning"
)  # of this machine
def test_the_page_on_clusters_runs_as_written(page) -> None:
    pytest.importorskip("distributed")
    xvar.datasets.sample().to_netcdf("radar.nc")
    page.__name__ = "__main__"  # as in a script
    run(page, blocks("docs/howto/cluster.md"))
    assert page.report.done == page.again.done == 2
    one, two = (xr.open_zarr(f"{name}.zarr") for name in ("analysis", "again"))
    assert one["u"].identical(two["u"])
    assert page.mean.shape == (128, 128)


def test_the_page_on_pysteps_runs_as_written(page, monkeypatch) -> None:
    """With pysteps if it is installed, else with a stand-in that keeps its arguments."""
    if importlib.util.find_spec("pysteps") is None:
        given = {}
        steps = types.SimpleNamespace(forecast=lambda *fields, **options: given.update(fields=fields) or fields[0])
        interface = types.SimpleNamespace(_methods={})
        motion = types.SimpleNamespace(interface=interface, get_method=interface._methods.get)
        monkeypatch.setitem(sys.modules, "pysteps", types.SimpleNamespace(motion=motion))
        monkeypatch.setitem(sys.modules, "pysteps.nowcasts", types.SimpleNamespace(steps=steps))
        run(page, blocks("docs/howto/pysteps.md"))
        assert given["fields"][0].shape == (3, 128, 128)
    else:
        run(page, blocks("docs/howto/pysteps.md"))
        assert page.rain.shape == (4, 6, 128, 128)
    assert page.velocity.shape == (2, 128, 128)


def test_the_example_of_the_readme_runs(page) -> None:
    xvar.datasets.sample().to_netcdf("radar.nc")
    run(page, blocks("README.md")[:3])  # the fourth has data of the reader
    assert "scores" in vars(page)


def test_the_proofs_name_tests_that_are_there() -> None:
    found = 0
    file = ROOT / "tests"
    for text in re.findall(r"`([^`\n]+)`", (ROOT / "docs/proofs.md").read_text(encoding="utf-8")):
        path, _, name = text.rpartition("::")
        file = ROOT / path if path else file
        if name.startswith("test_"):
            assert f"def {name}(" in file.read_text(encoding="utf-8"), text
            found += 1
    assert found > 50


def test_the_symbols_of_the_mathematics_stand_beside_names_that_are_there() -> None:
    text = (ROOT / "docs/mathematics.md").read_text(encoding="utf-8")
    names = set(re.findall(r"`(core\.[\w.]+)`", text))
    assert len(names) > 10
    for name in names:
        assert pkgutil.resolve_name(f"xvar.{name}") is not None
    for code, word in enumerate(STATUS):
        assert f"| {code} {word} |" in text


def test_the_pictures_of_the_pages_are_there_and_small() -> None:
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for link in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).stat().st_size < 200_000
