"""Windows that go on from one another: `background="cycled"`."""

from __future__ import annotations

import pathlib
from typing import Any

import dask
import numpy as np
import pytest
import torch
import xarray as xr

import xvar
from tests.cf.strict import strict_cf
from tests.faults.codes import codes
from tests.records import drifting
from tests.runs.records import OPTIONS, Failing, Killing, marked, same, shower
from xvar.background import Cycled
from xvar.core.covariance import Covariance, Matern
from xvar.core.grid import Grid
from xvar.core.minimize import LBFGS
from xvar.covariance import Diagonal
from xvar.errors import Faults, InputError
from xvar.execution.dispatch import deferred
from xvar.execution.schedule import Schedule
from xvar.plan.options import Options
from xvar.plan.windows import read_windows
from xvar.runs import Interrupted, Report

DAY = 86400.0
RADAR: dict[str, Any] = {"window": 3, "minimizer": OPTIONS["minimizer"], "background": "cycled"}


pytestmark = pytest.mark.usefixtures("one_thread")


# --- the schedule ---


def lay(seconds: Any, window: Any = None, stride: Any = None, partial: Any = "drop") -> Schedule:
    faults = Faults()
    options = Options.read({"window": window, "stride": stride, "partial": partial}, faults)
    windows = read_windows(np.asarray(seconds, dtype=float), "time", options, faults, cycled=True)
    faults.raise_if_any()
    assert windows is not None
    return windows.schedule


def rows(schedule: Schedule) -> list[list[int]]:
    return [[int(frame) for frame in row if frame >= 0] for row in schedule.frames]


def test_windows_are_half_open() -> None:
    assert rows(lay(np.arange(9), 4)) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    schedule = lay(np.arange(9) * DAY, "3D")
    assert rows(schedule) == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    np.testing.assert_array_equal(schedule.lead, [np.nan, DAY, DAY])
    np.testing.assert_array_equal(schedule.elapsed, [np.nan, 3 * DAY, 3 * DAY])


def test_a_stride_may_leave_frames_out_but_use_none_twice() -> None:
    schedule = lay(np.arange(12), 3, 5)
    assert rows(schedule) == [[0, 1, 2], [5, 6, 7]]
    assert schedule.lead is not None
    assert schedule.lead[1] == 3
    for stride in (2, 1):
        with pytest.raises(InputError) as info:
            lay(np.arange(12), 3, stride)
        assert codes(info.value) == ["overlapping-cycled-windows"]


def test_a_missing_frame_makes_its_window_shorter_and_the_forecast_longer() -> None:
    schedule = lay(np.delete(np.arange(13), 5) * 300.0, "15min", partial="keep")
    assert rows(schedule) == [[0, 1, 2], [3, 4], [5, 6, 7], [8, 9, 10]]
    np.testing.assert_array_equal(schedule.lead, [np.nan, 300, 600, 300])


def test_partial_windows_end_a_chain() -> None:
    assert rows(lay(np.arange(10), 4, partial="keep")) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_chains_begin_behind_gaps() -> None:
    schedule = lay(np.r_[np.arange(9), 100 + np.arange(3), 200 + np.arange(8)], 4)
    assert rows(schedule) == [[0, 1, 2, 3], [4, 5, 6, 7], [12, 13, 14, 15], [16, 17, 18, 19]]
    np.testing.assert_array_equal(schedule.lead, [np.nan, 1, np.nan, 1])


def test_a_duration_of_one_frame_is_no_window() -> None:
    with pytest.raises(InputError) as info:
        lay(np.arange(9) * DAY, "1D")
    assert codes(info.value) == ["window-too-short"]


# --- a linear model with Gaussian errors: the exact solution ---

SHAPE = (4, 5)
SIZE = SHAPE[0] * SHAPE[1]
STEP, WINDOW = 600.0, 3
GRID = Grid(SHAPE, (1e3, 1e3))
B, Q = Matern(1.0, 2e3), Matern(0.01, 2e3)
SHARP = LBFGS(max_evaluations=200, gtol=1e-9, ftol=0.0)


class Turning:
    """x moves around along both axes, and a part of it decays."""

    step = STEP

    def __call__(self, state: Any, seconds: float) -> Any:
        x, share = state["x"], seconds / STEP
        return {"x": (1 - 0.4 * share) * x + 0.3 * share * x.roll(1, -1) - 0.1 * share * x.roll(1, -2)}


class Still:
    """x stays as it is."""

    def __call__(self, state: Any, _: float) -> Any:
        return dict(state)


def matrix(operator: Any) -> Any:
    units = torch.eye(SIZE, dtype=torch.float64).reshape(SIZE, 1, *SHAPE)
    return operator(units).reshape(SIZE, SIZE).T.numpy()


def covariance(specification: Any) -> Any:
    bound: Covariance = specification.bind(GRID, dtype=torch.float64)
    return matrix(bound.apply)


def record(frames: int = 9, seed: int = 0) -> xr.Dataset:
    values = np.random.default_rng(seed).normal(size=(frames, *SHAPE))
    values[1, 2, 3] = values[4, 0, :] = np.nan
    return xr.Dataset(
        {"x": (("time", "y", "x_"), values, {"units": "1"})},
        {
            "time": np.datetime64("2020-01-01", "ns") + np.arange(frames) * np.timedelta64(int(STEP), "s"),
            "y": ("y", np.arange(SHAPE[0]) * 1e3, {"units": "m", "axis": "Y"}),
            "x_": ("x_", np.arange(SHAPE[1]) * 1e3, {"units": "m", "axis": "X"}),
        },
    )


def first(data: xr.Dataset) -> xr.Dataset:
    return xr.Dataset({"x": data["x"].isel(time=0, drop=True).fillna(0) * 0 + 0.5})


def blue(x_b: Any, cov: Any, observed: Any, variance: float, m: Any, q: Any = None) -> tuple[Any, Any]:
    """The states at the frames of a window and the covariance of its first: generalised least squares, all at once."""
    frames = len(observed)
    parts = [cov] if q is None else [cov, *[q] * (frames - 1)]
    size = SIZE * len(parts)
    prior = np.zeros((size, size))
    for index, part in enumerate(parts):
        prior[index * SIZE : (index + 1) * SIZE, index * SIZE : (index + 1) * SIZE] = part
    to_frame, state = [], np.hstack([np.eye(SIZE), np.zeros((SIZE, size - SIZE))])
    for index in range(frames):
        if index:
            state = m @ state
            if q is not None:
                state = state.copy()
                state[:, index * SIZE : (index + 1) * SIZE] += np.eye(SIZE)
        to_frame.append(state)
    known = np.isfinite(observed.reshape(frames, SIZE))
    h = np.vstack([to_frame[index][known[index]] for index in range(frames)])
    y = np.concatenate([observed.reshape(frames, SIZE)[index][known[index]] for index in range(frames)])
    mean = np.concatenate([x_b, np.zeros(size - SIZE)])
    gain = prior @ h.T @ np.linalg.inv(h @ prior @ h.T + variance * np.eye(len(y)))
    analysed = mean + gain @ (y - h @ mean)
    posterior = prior - gain @ h @ prior
    return np.stack([part @ analysed for part in to_frame]), posterior[:SIZE, :SIZE]


@pytest.mark.parametrize(
    ("constraint", "model_error"),
    [("strong", None), ("strong", Q), ("strong", Diagonal(0.01)), ("weak", Q), ("weak", Diagonal(0.01))],
)
def test_analyses_are_the_exact_solution_of_the_stated_scheme(constraint: Any, model_error: Any) -> None:
    data, std = record(), 0.7
    analysis = data.var4d.assimilate(
        window=WINDOW,
        constraint=constraint,
        dynamics=Turning(),
        background=Cycled(first(data)),
        background_error={"x": B},
        model_error=None if model_error is None else {"x": model_error},
        observation_error=std,
        dtype="float64",
        minimizer=SHARP,
    )
    m = matrix(lambda units: Turning()({"x": units}, STEP)["x"])
    b = covariance(B)
    q = np.zeros_like(b) if model_error is None else covariance(model_error)
    x_b, grown = first(data)["x"].values.ravel(), b
    for window in range(3):
        observed = data["x"].values[window * WINDOW : (window + 1) * WINDOW]
        states, _ = blue(x_b, grown, observed, std**2, m, STEP * q if constraint == "weak" else None)
        found = analysis["x"].values[window].reshape(WINDOW, SIZE)
        np.testing.assert_allclose(found, states, atol=2e-7)
        np.testing.assert_allclose(analysis["x_background"].values[window].ravel(), x_b, atol=2e-7)
        x_b, grown = m @ states[-1], b + WINDOW * STEP * q
    assert analysis["background_source"].values.tolist() == [0, 1, 1]
    # No frame is used twice, and none but the missing values is left out.
    assert int(analysis["number_of_observations"].sum()) == int(data["x"].notnull().sum())


def test_where_every_analysis_has_the_covariance_b_it_is_the_kalman_filter() -> None:
    # The first window sees nothing, so that its analysis has the covariance B. The observations of each later window
    # take out exactly what its forecast adds: B again, by R whose precision is B^-1 - (B + T Q)^-1.
    data, std_b, std_q = record(frames=15), 0.8, 0.02
    data["x"].values[np.isnan(data["x"].values)] = 0.1
    data["x"].values[:WINDOW] = np.nan
    grown = std_b**2 + WINDOW * STEP * std_q**2
    variance = WINDOW / (1 / std_b**2 - 1 / grown)
    analysis = data.var4d.assimilate(
        window=WINDOW,
        dynamics=Still(),
        background=Cycled(first(data)),
        background_error={"x": Diagonal(std_b)},
        model_error={"x": Diagonal(std_q)},
        observation_error=float(np.sqrt(variance)),
        dtype="float64",
        minimizer=SHARP,
        land="never_valid",
    )
    mean, cov = np.full(SIZE, 0.5), std_b**2
    np.testing.assert_allclose(analysis["x"].values[0, -1].ravel(), mean, atol=1e-12)
    for window in range(1, 5):
        cov += WINDOW * STEP * std_q**2
        for observed in data["x"].values[window * WINDOW : (window + 1) * WINDOW]:  # one after the other, as it does
            gain = cov / (cov + variance)
            mean, cov = mean + gain * (observed.ravel() - mean), (1 - gain) * cov
        assert cov == pytest.approx(std_b**2)
        np.testing.assert_allclose(analysis["x"].values[window, -1].ravel(), mean, atol=1e-9)


def test_an_advected_state_goes_on_by_the_model() -> None:
    data = drifting(frames=8)
    analysis = data.var4d.assimilate(
        window=4, dynamics="steady", background="cycled", minimizer=LBFGS(max_evaluations=200), observation_error=0.05
    )
    expected = analysis.isel(window=[0]).var4d.forecast("2min")["sst"].values[0, 0]
    np.testing.assert_array_equal(analysis["sst_background"].values[1], expected)
    np.testing.assert_array_equal(analysis["u_background"].values[1], analysis["u"].values[0, -1])
    assert (analysis["u_background"].values[0] == 0).all()
    # The first window has its first frame as background, the next one observes its own.
    assert np.diff(analysis["number_of_observations"])[0] == data["sst"].isel(time=0).size
    # What was learnt is not lost: the second window begins nearer to its images than the first.
    assert analysis["cost_observation"].values[1, 0] < 0.5 * analysis["cost_observation"].values[0, 0]


# --- the motion of images ---


def test_the_motion_before_is_the_background_of_the_motion() -> None:
    analysis = shower(9).var4d.assimilate(**RADAR)
    assert analysis["background_source"].values.tolist() == [0, 1, 1]
    assert (analysis["u_background"].values[0] == 0).all()
    steady = analysis["u"].isel(step=-1) - analysis["u_transient"]
    # Rain's transient motion lives for one frame, and the end of the next window is three frames away.
    expected = steady + analysis["u_transient"] * np.exp(-3)
    np.testing.assert_allclose(analysis["u_background"].values[1:], expected.values[:-1], atol=1e-5)
    assert analysis["cost_observation"].values[1, 0] < analysis["cost_observation"].values[1, 1] * 1.5
    assert same(shower(3).var4d.assimilate(**RADAR), analysis.isel(window=[0])) == []


@pytest.mark.parametrize(("name", "options"), [("rain", {}), ("sst", {"constraint": "weak"}), ("sst", {})])
def test_a_window_without_observations_keeps_the_motion(name: str, options: dict[str, Any]) -> None:
    data = shower(9) if name == "rain" else drifting(frames=9, size=16)
    data[name][3:6] = np.nan
    # A source and a transient motion belong to what was seen; what is carried is the motion.
    analysis = data.var4d.assimilate(**{**RADAR, "land": "never_valid"}, **options)
    assert analysis["status"].values[1] == 3
    np.testing.assert_allclose(analysis["u"].values[1, -1], analysis["u_background"].values[1], atol=1e-6)
    assert analysis["background_source"].values.tolist() == [0, 1, 1]


def test_currents_grow_b_by_their_model_error() -> None:
    from xvar.core.methods.currents import Currents

    data = drifting(frames=6, size=16)
    images = torch.from_numpy(data["sst"].values[None, :3].copy())
    grid, seconds = Grid((16, 16), (1e3, 1e3)), (0.0, 120.0, 240.0)
    guess = torch.ones(1, 2, 16, 16, dtype=torch.float64)
    for share, factor in ((0.15, np.hypot(1, 0.15 * 3)), (0.0, 1.0)):
        currents = Currents(model_error=share)
        alone, cycled = (
            currents.problem(images, seconds, grid),
            currents.problem(images, seconds, grid, guess, 360.0),
        )
        assert cycled.background["velocity"] is guess
        one, other = (p.background_error["velocity"] for p in (alone, cycled))
        assert (other.std / one.std, other.mean_std / one.mean_std) == pytest.approx((factor, factor))


def test_a_strong_constraint_on_currents_goes_on_with_the_same_b() -> None:
    data = drifting(speed=(4.0, 2.0), frames=12, size=32)
    analysis = data.var4d.assimilate(background="cycled", window=4)
    np.testing.assert_array_equal(analysis["u_background"].values[1:], analysis["u"].values[:-1, -1])
    error = np.hypot(analysis["u"] - 4, analysis["v"] - 2).isel(step=-1).mean(("y", "x")).values
    assert error[2] <= error[0] * 1.05


# --- the same bits, however it is run ---


@pytest.fixture(scope="module")
def whole() -> xr.Dataset:
    return gappy().var4d.assimilate(**RADAR)


def gappy() -> xr.Dataset:
    """Two stretches of 9 and 6 frames."""
    return shower(18).isel(time=[*range(9), *range(12, 18)])


def test_a_gap_starts_afresh(whole: xr.Dataset) -> None:
    assert whole["background_source"].values.tolist() == [0, 1, 1, 0, 1]
    for begin, end, windows in ((0, 9, slice(0, 3)), (9, 15, slice(3, 5))):
        alone = gappy().isel(time=slice(begin, end)).var4d.assimilate(**RADAR)
        assert same(alone, whole.isel(window=windows)) == []


@pytest.mark.parametrize("batch", [1, 2, 4, 9])
def test_lazily_nothing_is_computed_and_the_bits_are_the_same(batch: int, whole: xr.Dataset) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a compute")

    with dask.config.set(scheduler=refuse):
        lazy = gappy().chunk(time=4).var4d.assimilate(**RADAR, batch=batch)
    assert same(lazy.compute(scheduler="threads"), whole) == []
    one = lazy.isel(window=[3]).compute(scheduler="synchronous")
    assert same(one, whole.isel(window=[3])) == []


def test_chains_are_independent_in_the_graph() -> None:
    with deferred() as tasks:
        lazy = gappy().var4d.assimilate(**RADAR, batch=2)
    from dask.optimization import cull

    graph = lazy["u"].data.dask.to_dict()
    # The second chain begins in the middle of the second batch, and the third batch needs nothing of the first chain.
    needed = cull(graph, [tasks.keys[2]])[0]
    assert not [key for key in needed if str(key).startswith("assimilate-windows-0000")]
    assert [key is None for key in tasks.cycle_states] == [True, False, False]


class Stopping:
    """A progress that ends the run once some windows are done."""

    def __init__(self, after: int) -> None:
        self.after = after

    def __call__(self, report: Report) -> None:
        if report.done >= self.after:
            raise KeyboardInterrupt


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", ["a.zarr", "a.nc"])
def test_a_run_resumed_has_the_same_bits(name: str, batch: int, whole: xr.Dataset, tmp_path: pathlib.Path) -> None:
    path, solved = tmp_path / name, 0
    for after in (1, 3, 99):
        try:
            with dask.config.set(scheduler="synchronous"):
                report = xvar.run(gappy(), path, **RADAR, batch=batch, progress=Stopping(max(after, solved + 1)))
        except Interrupted as end:
            report = end.report
        assert report.done > solved
        solved = report.done
    assert solved == 5
    with xr.open_dataset(path) if name.endswith("nc") else xr.open_zarr(path) as found:
        assert same(found.load(), whole) == []


def test_a_resumed_run_goes_on_from_the_store_and_solves_nothing_twice(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xvar.execution import dispatch

    data = shower(12)
    with pytest.raises(Interrupted), dask.config.set(scheduler="synchronous"):
        xvar.run(data, tmp_path / "a.zarr", **RADAR, batch=1, progress=Stopping(2))
    begun: list[int] = []
    solve = dispatch.solve_batch

    def counted(work: Any, batch: Any, *arguments: Any) -> Any:
        begun.append(batch.begin)
        return solve(work, batch, *arguments)

    monkeypatch.setattr(dispatch, "solve_batch", counted)
    xvar.run(data, tmp_path / "a.zarr", **RADAR)
    assert sorted(begun) == [2, 3]
    with xr.open_zarr(tmp_path / "a.zarr") as found:
        assert same(found.load(), data.var4d.assimilate(**RADAR)) == []


def test_the_state_of_a_model_of_ones_own_goes_through_a_store(tmp_path: pathlib.Path) -> None:
    options: dict[str, Any] = {
        "window": WINDOW,
        "dynamics": Turning(),
        "background": Cycled(first(record())),
        "background_error": {"x": B},
        "model_error": {"x": Q},
        "observation_error": 0.7,
    }
    with pytest.raises(Interrupted), dask.config.set(scheduler="synchronous"):
        xvar.run(record(), tmp_path / "a.zarr", **options, batch=1, progress=Stopping(1))
    xvar.run(record(), tmp_path / "a.zarr", **options)
    with xr.open_zarr(tmp_path / "a.zarr") as found:
        assert same(found.load(), record().var4d.assimilate(**options)) == []
    other = {**options, "background": Cycled(first(record()) + 1)}
    with pytest.raises(InputError, match="other input or options"):  # the first background is part of the run
        xvar.run(record(), tmp_path / "a.zarr", **other)


# --- failures ---


@pytest.mark.parametrize("how", ["memory", "lazy", "run"])
def test_behind_a_window_that_fails_a_chain_begins_anew(how: str, tmp_path: pathlib.Path) -> None:
    data = marked(shower(12), 5)  # the last frame of the second window
    options = {**RADAR, "minimizer": Failing(max_evaluations=12, ftol=0.99), "errors": "continue"}
    if how == "run":
        report = xvar.run(data, tmp_path / "a.zarr", **options, batch=1)
        assert "no motion in this frame" in report.failed[1]
        with xr.open_zarr(tmp_path / "a.zarr") as found:
            analysis = found.load()
    else:
        analysis = (data.chunk(time=5) if how == "lazy" else data).var4d.assimilate(**options)
    assert list(analysis["status"].values == 5) == [False, True, False, False]
    assert analysis["background_source"].values.tolist() == [0, 0, 0, 1]
    behind = shower(12).isel(time=slice(6, 12)).var4d.assimilate(**options)
    assert same(behind, analysis.compute().isel(window=slice(2, 4))) == []


def test_frames_that_cannot_be_read_cost_their_own_windows(tmp_path: pathlib.Path) -> None:
    import dask.array

    data = shower(12)

    def read(block: Any, block_info: Any = None) -> Any:
        if block_info[0]["array-location"][0][0] == 5:  # none of the frames by which a record is known again
            raise OSError("no such disk")
        return block

    lazy = data.chunk(time=1)
    frames = dask.array.map_blocks(read, lazy["rain"].data, dtype="f4", meta=np.ones((0, 0, 0), "f4"))
    lazy["rain"] = lazy["rain"].copy(data=frames)
    report = xvar.run(lazy, tmp_path / "a.zarr", **RADAR, batch=1, errors="continue")
    assert list(report.failed) == [1]
    with xr.open_zarr(tmp_path / "a.zarr") as found:
        assert found["background_source"].values.tolist() == [0, 0, 0, 1]


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::xvar.execution.workers.WorkerWarning")
def test_a_window_that_kills_its_workers_ends_its_chain_and_no_other(tmp_path: pathlib.Path, whole: xr.Dataset) -> None:
    pytest.importorskip("distributed")
    options = {**RADAR, "minimizer": Killing(max_evaluations=12, ftol=0.99)}
    data = marked(gappy(), 5)  # the last frame of the second window
    report = xvar.run(data, tmp_path / "a.zarr", **options, batch=1, workers=2)
    assert list(report.failed) == [1]
    assert "its worker died" in report.failed[1]
    with xr.open_zarr(tmp_path / "a.zarr") as found:
        analysis = found.load()
    assert analysis["background_source"].values.tolist() == [0, 0, 0, 0, 1]
    assert same(whole.isel(window=[0, 3, 4]), analysis.isel(window=[0, 3, 4])) == []
    behind = data.isel(time=slice(6, 9)).var4d.assimilate(**options)
    assert same(behind, analysis.isel(window=[2])) == []


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"background": "cyled"}, "option-value"),
        ({"background": "rest"}, "option-value"),
        ({"background": "cycled", "stride": 1}, "overlapping-cycled-windows"),
        (
            {"background": "cycled", "dynamics": Still(), "background_error": Diagonal(1.0)},
            "background-incomplete-state",
        ),
        (
            {
                "background": "cycled",
                "dynamics": "advection",
                "model_error": xvar.covariance.Tikhonov(gradient=1e9, curvature=1e18, divergence=1e9, mean_std=1.0),
            },
            "divergence-in-cycled-windows",
        ),
    ],
)
def test_faults_of_cycled_windows(options: dict[str, Any], code: str) -> None:
    with pytest.raises(InputError) as caught:
        shower(9).var4d.assimilate(**options)
    assert code in codes(caught.value)


# --- what is written ---


@pytest.mark.parametrize("name", ["rain", "sst"])
def test_the_output_is_strict_cf_and_says_what_was_done(name: str, tmp_path: pathlib.Path) -> None:
    data = shower(6) if name == "rain" else drifting(frames=6, size=16)
    analysis = data.var4d.assimilate(**RADAR, save=("increment",))
    assert '"cycled": true' in analysis.attrs["xvar_configuration"]
    source = analysis["background_source"]
    assert source.attrs["flag_meanings"] == "stated window_before"
    assert analysis["u_background"].attrs["units"] == "m s-1"
    assert "standard_name" not in analysis["u_background"].attrs
    increment = analysis["u"].isel(step=-1) - analysis["u_background"]
    np.testing.assert_array_equal(analysis["u_increment"], increment)
    analysis.to_netcdf(tmp_path / "a.nc")
    code, complaints = strict_cf(tmp_path / "a.nc")
    assert code == 0, complaints
    with xr.open_dataset(tmp_path / "a.nc") as found:
        xr.testing.assert_equal(found.var4d.forecast("5min"), analysis.var4d.forecast("5min"))


def test_the_shell_cycles(tmp_path: pathlib.Path) -> None:
    from typer.testing import CliRunner

    from xvar.cli.application import application

    shower(9).to_netcdf(tmp_path / "radar.nc")
    arguments = ["assimilate", str(tmp_path / "radar.nc"), "-o", str(tmp_path / "a.nc")]
    result = CliRunner().invoke(application, [*arguments, "--window", "3", "--background", "cycled"])
    assert result.exit_code == 0, result.output
    with xr.open_dataset(tmp_path / "a.nc") as found:
        assert found["background_source"].values.tolist() == [0, 1, 1]
