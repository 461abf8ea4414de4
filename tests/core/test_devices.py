"""Code for devices, tested without one: no evaluation waits for a device, and nothing mixes it with the processor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

import xvar
from benchmarks.synchronisations import Synchronisations
from tests.core.meta import on_meta
from tests.core.numerics import generator, random
from tests.core.paths.problems import CASES, control, problem
from xvar.core.cost import Cost
from xvar.core.covariance import transform
from xvar.core.grid import Grid
from xvar.core.interpolate import bilinear_adjoint, sample
from xvar.core.methods.nowcast import Nowcast
from xvar.core.minimize import LBFGS, Minimum
from xvar.core.paths import SWITCH
from xvar.core.scatter import scatter, sum_of_whole_numbers


@pytest.fixture(autouse=True)
def _as_on_a_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Neither compiled code nor the transforms of scipy, which are for the processor."""
    monkeypatch.setenv(SWITCH, "0")
    monkeypatch.setattr(transform, "MOST_COSINES", 1024)
    transform.shared_transform.cache_clear()
    yield
    transform.shared_transform.cache_clear()


@pytest.mark.parametrize("holes", [False, True], ids=["whole", "holes"])
@pytest.mark.parametrize("case", CASES)
def test_j_needs_no_value_on_the_host(case: str, holes: bool) -> None:
    images = problem(case, holes=holes, metric=True, dtype=torch.float32)
    costs = Cost(images), Cost(images.coarsen(2))
    for one in costs:  # what is looked up once for each grid
        one.gradient(control(one)), one.inverse_hessian()
    cost, coarse = on_meta(*costs)
    at = control(costs[0]).to("meta")
    j, gradient = cost.gradient(at)
    assert j.shape == (2,)
    assert gradient.shape == at.shape
    assert {part.device.type for part in (j, gradient, *cost.terms(at).values())} == {"meta"}
    diagonal = cost.inverse_hessian()
    assert diagonal is not None
    assert diagonal.shape == at.shape
    assert cost.space.refine(coarse.space, control(costs[1]).to("meta"), 2).shape == at.shape
    assert cost.trajectory(at)[-1]["position"].device.type == "meta"


@pytest.mark.parametrize("variable", ["square_root", "none"])
def test_a_forecast_needs_no_value_on_the_host(variable: Any) -> None:
    def field(*shape: int) -> torch.Tensor:
        return torch.empty(2, *shape, device="meta")

    nowcast = Nowcast(variable, 4.0, 4.0, skills=(0.25, 0.35), damping=13.0)
    fields = field(1, 64, 48), field(2, 64, 48), field(2, 64, 48), field(1, 64, 48), field()
    found = nowcast.extrapolate(*fields, [300.0, 600.0], 300.0, Grid((64, 48), (1e3, 1e3)), field(3))
    assert found.forecast.shape == (2, 2, 64, 48)
    assert found.forecast.device.type == "meta"


def test_lbfgs_waits_once_for_each_evaluation_while_windows_stop_one_after_the_other() -> None:
    curvature, centre = random((6, 80), 1).exp(), random((6, 80), 2)

    def function(v: torch.Tensor, windows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        bend, away = curvature.index_select(0, windows), v - centre.index_select(0, windows)
        return (0.5 * bend * away.square() + 0.2 * away**4).sum(1), bend * away + 0.8 * away**3

    with Synchronisations() as waits:
        found = LBFGS(max_evaluations=99, gtol=1e-4, ftol=0, history_size=3)(
            function, torch.zeros(6, 80).double(), None
        )
    calls = waits.count
    assert len(set(found.evaluations.tolist())) > 1
    assert calls == int(found.evaluations.max())


@pytest.mark.parametrize("kind", ["rain", "sea"])
def test_a_window_waits_at_most_once_for_each_evaluation(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[tuple[int, int]] = []
    original = LBFGS.__call__

    def counted(self: LBFGS, function: Any, start: torch.Tensor, diagonal: Any = None) -> Minimum:
        function(start, torch.arange(len(start)))  # what is looked up once for each grid
        before = waits.count
        found = original(self, function, start, diagonal)
        counts.append((waits.count - before, int(found.evaluations.max())))
        return found

    monkeypatch.setattr(LBFGS, "__call__", counted)
    window = xvar.datasets.sample().isel(time=slice(0, 4), y=slice(0, 96), x=slice(0, 96))[["rain"]]
    if kind == "sea":
        attributes = {"standard_name": "sea_surface_temperature", "units": "degC"}
        window = (15 + window.rename(rain="sst")["sst"] / 10).assign_attrs(attributes).to_dataset()
    with Synchronisations() as waits:
        window.var4d.assimilate()
    assert len(counts) >= 3
    for waited, evaluations in counts:
        assert evaluations - 1 <= waited <= evaluations
    # Set-up, first guess, diagnostics and results: a number of each window, and of each grid.
    assert waits.count - sum(waited for waited, _ in counts) < 200


def test_what_waits_is_counted() -> None:
    values = torch.arange(6.0)
    with Synchronisations() as waits:
        float(values[0]), values.tolist(), values[values > 2], values.nonzero(), values.to("cpu"), values[[0, 1]]
        torch.equal(values, values), bool(values.any()), values.new_tensor([1.0]), values.cpu()
    assert waits.count == 10
    with Synchronisations() as none:
        values[values > 2] = 0.0
        values[1:3].sum(), torch.where(values > 1, values, 0.0), values[torch.tensor([1, 2])], values.to(torch.float64)
        torch.tensor([1.0]).to("cpu", non_blocking=True)
    assert none.count == 0


@pytest.mark.parametrize("edges", ["zero", "free"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_adjoint_of_devices_is_that_of_the_processor(edges: Any, dtype: torch.dtype) -> None:
    field = random((2, 3, 9, 12), 3, dtype).requires_grad_()
    position = (-3 + 18 * torch.rand(2, 2, 40, 5, generator=generator(4))).to(dtype)
    values = sample(field, position, edges=edges)
    weights = random(tuple(values.shape), 5, dtype)
    (expected,) = torch.autograd.grad(values, field, weights)
    found = bilinear_adjoint(weights, position, (9, 12), {"zero": 0, "free": 1}[edges])
    torch.testing.assert_close(found, expected, rtol=0, atol=50 * torch.finfo(dtype).eps * float(expected.abs().max()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sums_of_whole_numbers_do_not_depend_on_the_order(dtype: torch.dtype) -> None:
    values, index = random((2, 3, 5000), 6, dtype) * 1e-5, torch.randint(0, 40, (2, 5000), generator=generator(7))
    expected = scatter(values.double(), index, 40)
    mixed = torch.randperm(5000, generator=generator(8))
    found, again = (
        sum_of_whole_numbers(values[..., order], index[:, order][:, None].expand(-1, 3, -1), 40)
        for order in (torch.arange(5000), mixed)
    )
    assert torch.equal(found, again)
    assert not torch.equal(scatter(values, index, 40), scatter(values[..., mixed], index[:, mixed], 40))
    torch.testing.assert_close(
        found.double(), expected, rtol=0, atol={torch.float32: 1e-10, torch.float64: 2e-18}[dtype]
    )


def test_sums_of_whole_numbers_keep_what_is_not_finite_to_its_window() -> None:
    values, index = torch.ones(2, 1, 4), torch.tensor([[0, 1, 1, 2]]).expand(2, -1)
    values[1, 0, 0] = torch.nan
    found = sum_of_whole_numbers(values, index[:, None], 3)
    assert found[0].tolist() == [[1.0, 2.0, 1.0]]
    assert found[1].isnan().all()
    assert sum_of_whole_numbers(torch.zeros(1, 1, 4), index[:1, None], 3).tolist() == [[[0.0, 0.0, 0.0]]]
