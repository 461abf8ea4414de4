"""Training: what it finds, what is held out, and that checkpoints, lazy data and workers change no bit."""

from __future__ import annotations

import json
from functools import partial

import dask
import numpy as np
import pytest
import torch
import xarray as xr

import xvar
from tests.learning.records import OPTIONS, RATE, STEADY, WEAK, Decay, corrected, record
from xvar.learning import Learned, Windows
from xvar.learning.held_out import split

pytestmark = pytest.mark.usefixtures("one_thread")

ADAM = partial(torch.optim.Adam, lr=0.1)
QUICK = OPTIONS | {"minimizer": xvar.minimize.LBFGS(max_evaluations=30)}


def rate(learned: Learned) -> float:
    return float(learned.dynamics.logarithm.detach().exp())


def weights(learned: Learned) -> torch.Tensor:
    return torch.nn.utils.parameters_to_vector(learned.dynamics.parameters()).detach()


def learn_network(data: xr.Dataset = STEADY, **options) -> Learned:
    """Train the network of `corrected` for three rounds of mini-batches, with forecasts."""
    stated = {"rounds": 3, "minibatch": 2, "forecast_weight": 0.5, "held_out": None, "optimizer": ADAM}
    quick = QUICK | {"stride": 3, "constraint": "weak", "model_error": WEAK["model_error"]}
    return xvar.learn(data, dynamics=corrected(), **stated | quick | options)


@pytest.mark.parametrize("optimizer", [ADAM, partial(torch.optim.LBFGS, max_iter=5)], ids=["adam", "lbfgs"])
def test_the_rate_of_the_truth_is_found(optimizer) -> None:
    dynamics = Decay(rate=0.5 * RATE)
    learned = xvar.learn(record(frames=49), dynamics=dynamics, optimizer=optimizer, rounds=25, minibatch=3, **QUICK)
    assert rate(learned) == pytest.approx(RATE, rel=0.05)
    assert float(dynamics.logarithm.detach().exp()) == pytest.approx(0.5 * RATE)  # unchanged
    history = learned.history
    assert history["held_out_cost"].values[-1] < 0.2 * history["held_out_cost"].values[0]
    best = history.attrs["best_round"]
    assert int(history["held_out_cost"].values.argmin()) == best
    # The weights are those of the best round.
    windows = Windows(record(frames=49), dynamics=learned.dynamics, **QUICK)
    held = split(windows, 0.2).held_out
    with torch.no_grad():
        cost = windows.cost(windows.minimise(windows=held), windows=held).mean()
    assert float(cost) == pytest.approx(float(history["held_out_cost"][best]), rel=1e-4)


def test_forecasts_alone_find_the_rate_too() -> None:
    r"""Of analyses bound to their images, whose J hardly depends on the rate, the forecasts do."""
    options = QUICK | {"stride": 3, "constraint": "weak", "model_error": {"tracer": WEAK["background_error"]["tracer"]}}
    learned = xvar.learn(
        STEADY, dynamics=Decay(0.5 * RATE), forecast_weight=10.0, rounds=40, optimizer=ADAM, held_out=None, **options
    )
    assert rate(learned) == pytest.approx(RATE, rel=0.05)


def test_windows_held_out_are_never_part_of_a_gradient() -> None:
    changed = STEADY.copy(deep=True)
    changed["tracer"][18:] *= 3.0
    one, other = (learn_network(data, held_out=0.3, patience=9) for data in (STEADY, changed))
    for name in ("cost", "gradient_norm", "evaluations"):
        assert one.history[name].values.tobytes() == other.history[name].values.tobytes()
    assert (one.history["held_out_cost"] != other.history["held_out_cost"]).all()


def test_windows_that_share_a_frame_with_those_held_out_are_left_out() -> None:
    windows = Windows(STEADY, dynamics=Decay(), **QUICK | {"stride": 3})
    training, held_out = split(windows, 0.3)
    frames = windows.plan.schedule.frames
    assert held_out.tolist() == [4, 5, 6]
    assert training.tolist() == [0, 1, 2]
    assert not np.isin(frames[training], frames[held_out]).any()
    times = STEADY["time"].values
    dates = split(windows, slice(str(times[6]), str(times[12])))
    assert dates.held_out.tolist() == [2, 3]
    assert dates.training.tolist() == [0, 5, 6]
    assert split(windows, None).training.tolist() == [*range(7)]


def test_training_stops_when_the_windows_held_out_stop_improving() -> None:
    far = partial(torch.optim.SGD, lr=0.05)
    learned = xvar.learn(STEADY, dynamics=Decay(RATE), optimizer=far, rounds=30, patience=2, **QUICK)
    history = learned.history
    assert history.sizes["round"] - 1 == history.attrs["best_round"] + 2 < 30


class InterruptedTrainingError(Exception):
    pass


class Dying(torch.optim.Adam):
    """An optimiser that is interrupted in its sixth step."""

    steps = 0

    def step(self, closure=None):
        found = super().step(closure)
        self.steps += 1
        if self.steps == 6:
            raise InterruptedTrainingError
        return found


def test_a_training_resumes_with_the_same_bits(tmp_path) -> None:
    whole = learn_network(rounds=4, held_out=0.3)
    path = tmp_path / "checkpoint.npz"
    learn_network(rounds=1, held_out=0.3, checkpoint=path)
    learn_network(rounds=2, held_out=0.3, checkpoint=path)
    resumed = learn_network(rounds=4, held_out=0.3, checkpoint=path)
    assert torch.equal(weights(whole), weights(resumed))
    assert whole.history.equals(resumed.history)
    again = learn_network(rounds=4, held_out=0.3, checkpoint=path)  # nothing is left to do
    assert torch.equal(weights(whole), weights(again))
    assert [one.name for one in tmp_path.iterdir()] == ["checkpoint.npz"]


def test_a_training_that_was_interrupted_resumes_with_the_same_bits(tmp_path) -> None:
    path, dying = tmp_path / "checkpoint.npz", partial(Dying, lr=0.1)
    with pytest.raises(InterruptedTrainingError):
        learn_network(checkpoint=path, optimizer=dying)
    resumed = learn_network(checkpoint=path, optimizer=dying, rounds=2)
    assert torch.equal(weights(resumed), weights(learn_network(rounds=2)))


def test_a_checkpoint_of_another_training(tmp_path) -> None:
    path = tmp_path / "checkpoint.npz"
    learn_network(rounds=1, checkpoint=path)
    others = {
        "seed": {"seed": 1},
        "minibatch": {"minibatch": 3},
        "solver.experiment.background_error": {"background_error": {"tracer": xvar.covariance.Diagonal(1.0)}},
        "frames of the first window": {"data": STEADY * 1.1},
    }
    for name, options in others.items():
        with pytest.raises(xvar.InputError) as info:
            learn_network(rounds=1, checkpoint=path, **options)
        assert info.value.faults[0].code == "checkpoint-of-another-training"
        assert name in info.value.faults[0].found
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(xvar.InputError) as info:
        learn_network(rounds=1, checkpoint=path)
    assert info.value.faults[0].code == "checkpoint-unreadable"


def test_lazy_data_give_the_same_bits() -> None:
    memory, lazy = learn_network(), learn_network(STEADY.chunk(time=5))
    assert torch.equal(weights(memory), weights(lazy))
    assert memory.history.equals(lazy.history)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::xvar.execution.workers.WorkerWarning")
@pytest.mark.long
def test_workers_give_the_same_bits() -> None:
    distributed = pytest.importorskip("distributed")
    with (
        dask.config.set({"distributed.worker.multiprocessing-method": "spawn"}),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster),
    ):
        shared = learn_network(STEADY.chunk(time=5))
    assert torch.equal(weights(shared), weights(learn_network()))


def test_the_random_state_of_the_caller_is_kept() -> None:
    before = torch.get_rng_state()
    learn_network(rounds=1)
    assert torch.equal(before, torch.get_rng_state())


def test_the_trained_module_is_the_dynamics_of_every_other_call(tmp_path) -> None:
    learned = learn_network()
    options = QUICK | {"dynamics": learned.dynamics}
    analysis = STEADY.var4d.assimilate(**options)
    configuration = json.loads(analysis.attrs["xvar_configuration"])
    assert configuration["dynamics"]["weights"] == learned.history.attrs["weights"]
    other = json.loads(STEADY.var4d.assimilate(**QUICK, dynamics=corrected()).attrs["xvar_configuration"])
    assert other["dynamics"]["weights"] != configuration["dynamics"]["weights"]
    forecast = analysis.var4d.forecast("30min", dynamics=learned.dynamics)
    assert bool(np.isfinite(forecast["tracer"]).all())
    report = xvar.run(STEADY, tmp_path / "analysis.zarr", **options)
    assert report.done == analysis.sizes["window"]
    with xr.open_zarr(tmp_path / "analysis.zarr") as stored:
        assert stored["tracer"].values.tobytes() == analysis["tracer"].values.tobytes()
    state = {"tracer": torch.rand(2, 1, 5, 6, dtype=torch.float64)}
    assert xvar.check.dynamics(learned.dynamics, state, 600.0).passed


@pytest.mark.parametrize(
    ("code", "options"),
    [
        ("held-out-invalid", {"held_out": 1.5}),
        ("held-out-invalid", {"held_out": slice("no date", None)}),
        ("held-out-empty", {"held_out": 0.99}),
        ("held-out-empty", {"held_out": slice("2030-01-01", None)}),
        ("training-number", {"rounds": 0}),
        ("training-number", {"minibatch": 2.5}),
        ("training-number", {"forecast_weight": -1.0}),
        ("missing-folder", {"checkpoint": "no/such/folder/checkpoint.npz"}),
    ],
)
def test_faults(code, options) -> None:
    with pytest.raises(xvar.InputError) as info:
        learn_network(**options)
    assert info.value.faults[0].code == code
