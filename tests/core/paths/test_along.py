"""The adjoint by hand of images along paths against autograd's of the models themselves."""

from __future__ import annotations

import gc
import os
import pathlib
import subprocess
import sys
import weakref
from dataclasses import replace

import pytest
import torch

from tests.core.paths.problems import CASES, control, problem
from xvar.core import paths
from xvar.core.cost import Cost
from xvar.core.paths import SWITCH, is_compiled
from xvar.core.paths.along import _joined
from xvar.core.problem import Problem
from xvar.errors import AnalysisWarning

pytest.importorskip("numba")


def by_autograd(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> Cost:
    with monkeypatch.context() as patch:
        patch.setenv(SWITCH, "0")
        cost = Cost(problem)
    assert cost._paths is None
    return cost


@pytest.mark.parametrize("metric", [False, True], ids=["one spacing", "spacing of each point"])
@pytest.mark.parametrize("holes", [False, True], ids=["whole", "holes"])
@pytest.mark.parametrize("case", CASES)
def test_j_and_its_gradient_are_those_of_autograd(
    case: str, holes: bool, metric: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = problem(case, holes=holes, metric=metric)
    for one in (whole, whole.coarsen(2), whole.select(torch.tensor([1]))):
        cost = Cost(one)
        assert cost._paths is not None
        at = control(cost)
        found, gradient = cost.gradient(at)
        expected, true = by_autograd(one, monkeypatch).gradient(at)
        torch.testing.assert_close(found, expected, rtol=1e-13, atol=0)
        torch.testing.assert_close(gradient, true, rtol=0, atol=1e-13 * float(true.abs().max()))
        torch.testing.assert_close(cost.value(at), expected, rtol=1e-13, atol=0)
        terms = by_autograd(one, monkeypatch).terms(at)
        assert list(cost.terms(at)) == list(terms)


@pytest.mark.parametrize("holes", [False, True], ids=["whole", "holes"])
@pytest.mark.parametrize("case", CASES)
def test_single_precision_has_its_digits(case: str, holes: bool) -> None:
    exact, single = (Cost(problem(case, holes=holes, dtype=dtype)) for dtype in (torch.float64, torch.float32))
    at = control(single)
    true, gradient = exact.gradient(at.double())
    found, near = single.gradient(at)
    assert found.dtype == near.dtype == torch.float32
    torch.testing.assert_close(found.double(), true, rtol=1e-6, atol=0)
    assert float((near.double() - gradient).norm() / gradient.norm()) < 1e-3  # slopes jump from cell to cell


@pytest.mark.parametrize("holes", [False, True], ids=["whole", "holes"])
@pytest.mark.parametrize("case", CASES)
def test_a_window_has_the_same_bits_alone_and_in_a_batch(case: str, holes: bool) -> None:
    both = problem(case, holes=holes, dtype=torch.float32)
    cost = Cost(both)
    at = control(cost)
    together = cost.gradient(at)
    for window in (0, 1):
        alone = cost.select(torch.tensor([window])).gradient(at[[window]])
        assert all(torch.equal(one[0], all_[window]) for one, all_ in zip(alone, together, strict=True))


BITS = """
import xvar
analysis = xvar.datasets.sample().var4d.assimilate()
print(analysis["u"].values.tobytes().hex())
"""


@pytest.mark.long
def test_code_that_was_compiled_before_has_the_same_bits(tmp_path: pathlib.Path) -> None:
    surroundings = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), SWITCH: "1"}
    compiled, loaded = (
        subprocess.run(
            [sys.executable, "-c", BITS], env=surroundings, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    )
    assert list(tmp_path.rglob("*.nbc"))
    assert compiled == loaded


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf, 1e38])
@pytest.mark.parametrize("case", CASES)
def test_a_motion_that_is_not_finite_gives_no_finite_j_and_leaves_the_other_window(case: str, wrong: float) -> None:
    cost = Cost(problem(case, dtype=torch.float32))
    at = control(cost)
    expected = cost.gradient(at)
    at[0] = wrong
    found = cost.gradient(at)
    assert not bool(found[0][0].isfinite())
    assert torch.equal(found[0][1], expected[0][1])
    assert torch.equal(found[1][1], expected[1][1])


def test_beyond_the_edges_the_gradient_is_zero() -> None:
    """All parcels of a fast motion leave the grid: J does not change with the motion."""
    one = problem("steady")
    fast = {**one.background, "velocity": torch.full_like(one.background["velocity"], 1e4)}
    _, found = Cost(replace(one, background=fast))._paths.gradient(fast, ["velocity"])  # type: ignore[union-attr]
    assert float(found["velocity"].abs().max()) == 0


@pytest.mark.parametrize("case", CASES)
def test_terms_can_be_differentiated_by_the_control(case: str) -> None:
    cost = Cost(problem(case))
    at = control(cost).requires_grad_()
    (found,) = torch.autograd.grad(cost.value(at).sum(), at)
    _, expected = cost.gradient(at)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12 * float(expected.abs().max()))


@pytest.mark.parametrize("holes", [False, True], ids=["whole", "holes"])
@pytest.mark.parametrize("case", CASES)
def test_nothing_keeps_the_images_of_a_grid_that_is_done(case: str, holes: bool) -> None:
    cost = Cost(problem(case, holes=holes))
    cost.gradient(control(cost))
    assert cost._paths is not None
    images = weakref.ref(cost._paths.comparisons)
    gc.disable()
    try:
        del cost
        assert images() is None  # without a search for cycles
    finally:
        gc.enable()


def test_images_that_lie_together_are_not_copied() -> None:
    images = torch.rand(2, 4, 3, 5)
    apart = [images[:, k, None] for k in (1, 2, 3)]
    joined = _joined(apart)
    assert torch.equal(joined, images[:, 1:])
    assert joined.data_ptr() == images[:, 1:].data_ptr()
    turned = _joined(apart[::-1])
    assert torch.equal(turned, images[:, 1:].flip(1))
    assert turned.data_ptr() != apart[-1].data_ptr()


def test_the_switch_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_compiled()
    monkeypatch.setenv(SWITCH, "0")
    assert not is_compiled()


def test_a_numba_that_cannot_be_imported_leaves_j_to_autograd(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise ImportError(f"{name} needs another numpy")

    monkeypatch.setattr(paths, "import_module", refuse)
    paths._has_numba.cache_clear()
    try:
        with pytest.warns(AnalysisWarning, match="numba is installed and cannot be imported"):
            assert Cost(problem("steady"))._paths is None
    finally:
        paths._has_numba.cache_clear()
