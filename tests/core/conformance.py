"""The conformance tests of observation operators; the test class of an operator inherits them."""

from __future__ import annotations

import abc
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.core.numerics import DTYPES, adjoint_error, difference_error, random
from xvar.core.dynamics import State

DOT_PRODUCT = {torch.float64: 1e-13, torch.float32: 1e-7}


class OperatorConformance(abc.ABC):
    """Adjoint, derivatives, precision, and windows alone and in a batch."""

    windows = 3

    @abc.abstractmethod
    def operator(self, dtype: torch.dtype) -> Any:
        """Return an operator from a state to (window, component, ...), for `windows` windows."""

    @abc.abstractmethod
    def state(self, dtype: torch.dtype) -> State:
        """Return a state of `windows` windows at which the operator is differentiable."""

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_adjoint(self, dtype: torch.dtype) -> None:
        operator, state = self.operator(dtype), self.state(dtype)
        sizes = [values.numel() for values in state.values()]

        def function(flat: Tensor) -> Tensor:
            parts = zip(state.items(), flat.split(sizes), strict=True)
            equivalent: Tensor = operator({key: part.view_as(values) for (key, values), part in parts})
            return equivalent.flatten()

        point = torch.cat([values.flatten() for values in state.values()])
        assert function(point).dtype == dtype
        direction, dual = random(point.shape, 3, dtype), random(function(point).shape, 4, dtype)
        assert adjoint_error(function, point, direction, dual) < DOT_PRODUCT[dtype]
        if dtype == torch.float64:
            assert difference_error(function, point, direction, dual, 1e-6) < 1e-7

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_windows_alone_and_in_a_batch_have_the_same_bits(self, dtype: torch.dtype) -> None:
        operator, state = self.operator(dtype), self.state(dtype)
        together = operator(state)
        assert len(together) == self.windows
        for windows in ([0], [2, 1]):
            selected = operator.select(torch.tensor(windows)) if hasattr(operator, "select") else operator
            alone = selected({key: values[windows] for key, values in state.items()})
            assert torch.equal(alone, together[windows])

    def test_the_state_does_not_change(self) -> None:
        state = self.state(torch.float64)
        copies = {key: values.clone() for key, values in state.items()}
        self.operator(torch.float64)(state)
        assert all(torch.equal(state[key], copies[key]) for key in copies)
