from __future__ import annotations

import math

import torch

from xvar.core.minimize import LBFGS, GaussNewton
from xvar.core.solve import CostHistory, Minimisation, minimisations


def told() -> CostHistory:
    """Two windows in two minimisations; the second window takes fewer evaluations."""
    cost_history = CostHistory(2, [Minimisation("coarse", 3), Minimisation("fine", 2)])
    both, first = torch.tensor([0, 1]), torch.tensor([0])
    cost_history.begin()
    cost_history.note(both, {"background": torch.tensor([0.0, 0.0]), "observation": torch.tensor([9.0, 5.0])})
    cost_history.note(both, {"background": torch.tensor([1.0, 1.0]), "observation": torch.tensor([math.nan, 2.0])})
    cost_history.note(first, {"background": torch.tensor([2.0]), "observation": torch.tensor([3.0])})
    cost_history.begin()
    cost_history.note(both, {"background": torch.tensor([1.0, 2.0]), "observation": torch.tensor([30.0, 20.0])})
    cost_history.note(first, {"background": torch.tensor([5.0]), "observation": torch.tensor([40.0])})
    return cost_history


def test_the_lowest_cost_so_far_within_each_minimisation() -> None:
    numbers = told().numbers()
    nan = math.nan
    expected = {
        "cost_history": [[9.0, 9.0, 5.0, 31.0, 31.0], [5.0, 3.0, 22.0, nan, nan]],
        "cost_history_background": [[0.0, 0.0, 2.0, 1.0, 1.0], [0.0, 1.0, 2.0, nan, nan]],
        "cost_history_observation": [[9.0, 9.0, 3.0, 30.0, 30.0], [5.0, 2.0, 20.0, nan, nan]],
        "minimisation": [[1, 1, 1, 2, 2], [1, 1, 2, 0, 0]],
    }
    assert set(numbers) == set(expected)
    for name, values in expected.items():
        torch.testing.assert_close(numbers[name].double(), torch.tensor(values, dtype=torch.float64), equal_nan=True)


def test_the_minimisations_of_a_solution() -> None:
    found = minimisations([4, 2, 1], LBFGS(max_evaluations=7), LBFGS(max_evaluations=3), loop="steady", finest=2)
    assert [(one.name, one.evaluations) for one in found] == [
        ("steady_blocks_of_8", 3),
        ("steady_blocks_of_4", 3),
        ("steady_blocks_of_2", 7),
    ]
    assert minimisations([1], GaussNewton(outer=2)) == [Minimisation("whole_grid", 21)]
