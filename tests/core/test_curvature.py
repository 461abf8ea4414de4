from __future__ import annotations

from dataclasses import replace

import torch

from tests.core.numerics import random, relative
from tests.core.problems import SIZE, linear
from xvar.core.cost import Cost
from xvar.core.covariance import Diagonal
from xvar.core.observation import Component, Observation


def test_the_inverse_hessian_is_exact_if_everything_is_diagonal() -> None:
    """Observed at the first time only, without correlations: the Hessian of J in the control is 1 + σ_b² / σ_o²."""
    deviation = 0.5 + random((3, 1, SIZE), 29).abs()
    std = 0.3 + random((3, 1, SIZE), 30).abs()
    observation = Observation(0.0, Component("x"), random((3, 1, SIZE), 31), std)
    problem = linear((observation,), 3, background_error={"x": Diagonal(deviation)})
    assert Cost(problem).inverse_hessian() is None
    cost = Cost(replace(problem, curvature={"x": 1 / std**2}))
    hessian = torch.autograd.functional.hessian(
        lambda v: cost.value(v[None].expand(3, -1))[0], torch.zeros(SIZE).double()
    )
    found = cost.inverse_hessian()
    assert found is not None
    assert relative(torch.diag(1 / found[0]), hessian) < 1e-12
    assert relative(found, (1 / (1 + deviation**2 / std**2)).flatten(1)) < 1e-12
    some = Cost(replace(problem, curvature={"x": 1 / std**2}).select(torch.tensor([2, 0])))
    assert some.problem.curvature["x"].shape == (2, 1, SIZE)


def test_unknown_curvature_is_measured_along_the_gradient() -> None:
    """Of two components the curvature of one is stated, that of the other follows from J, of which it is exact."""
    deviation, std = 2.0, 0.5
    seen = Observation(0.0, Component("x"), random((3, 1, SIZE), 31), torch.full((3, 1, SIZE), std).double())
    problem = linear((seen,), 3, background_error={"x": Diagonal(deviation)})
    stated = Cost(replace(problem, measured=("x",)))
    found = stated.inverse_hessian()
    assert found is not None
    assert relative(found, torch.full_like(found, 1 / (1 + deviation**2 / std**2))) < 1e-9
