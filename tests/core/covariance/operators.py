"""The conformance tests of covariance operators; the test class of each inherits them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from xvar.core.covariance import Covariance
from xvar.core.covariance.base import Shape


def dense(operation: Callable[[Tensor], Tensor], shape: Shape) -> Tensor:
    """Matrix of a linear operation on one window of this shape, (out, in): the unit vectors as a batch of windows."""
    size = math.prod(shape[1:])
    units = torch.eye(size, dtype=torch.float64).reshape(size, *shape[1:])
    return operation(units).flatten(1).T


def relative(found: Tensor, expected: Tensor) -> float:
    return float(((found - expected).norm() / expected.norm()).item())


class OperatorTests:
    """Subclasses state the operator and the shape of its states."""

    shape: Shape = (3, 2, 9, 7)
    exact_inverse_hessian = True
    #: Its inverse needs values, which tensors on the device "meta" do not have.
    iterative = False
    #: Bool (y, x): the points of the operator's fields; elsewhere they are zero.
    water: Tensor | None = None

    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def _one_thread(self) -> Iterator[None]:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(threads)

    def draw(self, seed: int, shape: Shape | None = None, dtype: torch.dtype = torch.float64) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        state = torch.randn(shape or self.shape, generator=generator, dtype=torch.float64).to(dtype)
        return state if self.water is None else state * self.water

    def draw_control(self, seed: int, dtype: torch.dtype = torch.float64, shape: Shape | None = None) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        size = self.operator().control_shape(shape or self.shape)
        return torch.randn(size, generator=generator, dtype=torch.float64).to(dtype)

    def kept(self) -> Tensor:
        """Bool (component and point,), true on water."""
        if self.water is None:
            return torch.ones(math.prod(self.shape[1:]), dtype=torch.bool)
        return self.water.expand(self.shape[1:]).flatten()

    def matrix(self) -> Tensor:
        kept = self.kept()
        return dense(self.operator().apply, self.shape)[kept][:, kept]

    def test_it_is_symmetric(self) -> None:
        matrix = self.matrix()
        assert relative(matrix.T, matrix) < 1e-10

    def test_it_is_positive(self) -> None:
        assert float(torch.linalg.eigvalsh(self.matrix()).min()) > 0

    def test_it_is_linear(self) -> None:
        operator, x, y = self.operator(), self.draw(0), self.draw(1)
        for method in (operator.apply, operator.solve, operator.sqrt_transpose):
            assert relative(method(2.5 * x - 3 * y), 2.5 * method(x) - 3 * method(y)) < 1e-10
            for size in (1e-6, 1e6):
                assert relative(method(size * x), size * method(x)) < 1e-10
        v, w = self.draw_control(2), self.draw_control(3)
        assert relative(operator.sqrt(2.5 * v - 3 * w), 2.5 * operator.sqrt(v) - 3 * operator.sqrt(w)) < 1e-10

    def test_root_times_its_transpose_is_the_operator(self) -> None:
        operator = self.operator()
        root = dense(operator.sqrt, operator.control_shape(self.shape))[self.kept()]
        assert relative(root @ root.T, self.matrix()) < 1e-10

    def test_solve_inverts_apply(self) -> None:
        operator, x = self.operator(), self.draw(0)
        assert relative(operator.solve(operator.apply(x)), x) < 1e-10
        assert relative(operator.apply(operator.solve(x)), x) < 1e-10

    def test_the_control_of_a_state(self) -> None:
        operator, x = self.operator(), self.draw(0)
        assert relative(operator.inverse_sqrt(x), operator.sqrt_transpose(operator.solve(x))) < 1e-10

    def test_adjoint_of_the_root(self) -> None:
        operator, v, x = self.operator(), self.draw_control(0), self.draw(1)
        image = operator.sqrt(v)
        error = (image * x).sum() - (v * operator.sqrt_transpose(x)).sum()
        assert abs(float(error)) < 1e-13 * float(image.norm() * x.norm())

    def test_adjoint_of_the_root_in_single_precision(self) -> None:
        operator = self.operator(torch.float32)
        v, x = self.draw_control(0, torch.float32), self.draw(1, dtype=torch.float32)
        image = operator.sqrt(v)
        error = (image * x).double().sum() - (v * operator.sqrt_transpose(x)).double().sum()
        assert abs(float(error)) < 1e-6 * float(image.norm() * x.norm())

    def test_gradient_through_autograd_is_the_transpose(self) -> None:
        operator, v, x = self.operator(), self.draw_control(0).requires_grad_(), self.draw(1)
        (gradient,) = torch.autograd.grad((operator.sqrt(v) * x).sum(), v)
        assert relative(gradient, operator.sqrt_transpose(x)) < 1e-12
        y = self.draw(2).requires_grad_()
        (gradient,) = torch.autograd.grad((operator.solve(y) * x).sum(), y)
        assert relative(gradient, operator.solve(x)) < 1e-10

    def test_tangent_by_double_backward_is_the_root(self) -> None:
        operator, v = self.operator(), self.draw_control(0).requires_grad_()
        x, direction = self.draw(1).requires_grad_(), self.draw_control(2)
        (gradient,) = torch.autograd.grad((operator.sqrt(v) * x).sum(), v, create_graph=True)
        (tangent,) = torch.autograd.grad((gradient * direction).sum(), x)
        assert relative(tangent, operator.sqrt(direction)) < 1e-12

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
    def test_a_window_has_the_same_bits_alone_and_in_a_batch(self, dtype: torch.dtype) -> None:
        operator = self.operator(dtype)
        shape = (5, *self.shape[1:])
        x, v = self.draw(0, shape, dtype), self.draw_control(1, dtype, shape)
        for method, batch in (
            (operator.apply, x),
            (operator.solve, x),
            (operator.sqrt_transpose, x),
            (operator.sqrt, v),
        ):
            together = method(batch)
            for chosen in ([0], [4], [2, 1], [3, 0, 4]):
                assert torch.equal(method(batch[chosen]), together[chosen])
        curvature = torch.rand(shape, dtype=dtype, generator=torch.Generator().manual_seed(2))
        together = operator.inverse_hessian(curvature, shape)
        for k in range(5 if together is not None else 0):
            alone = operator.inverse_hessian(curvature[k : k + 1], (1, *shape[1:]))
            assert torch.equal(alone[0], together[k])
        v.requires_grad_()
        (together,) = torch.autograd.grad(operator.sqrt(v), v, x)
        for k in range(5):
            (alone,) = torch.autograd.grad(operator.sqrt(v[k : k + 1]), v, x[k : k + 1])
            assert torch.equal(alone[k], together[k])

    def test_selected_windows(self) -> None:
        operator, x, windows = self.operator(), self.draw(0), torch.tensor([2, 0])
        assert torch.equal(operator.select(windows).apply(x[windows]), operator.apply(x)[windows])

    def test_single_precision_agrees_with_double(self) -> None:
        single, double, x, v = self.operator(torch.float32), self.operator(), self.draw(0), self.draw_control(1)
        assert single.dtype == torch.float32
        for name, argument in (("apply", x), ("solve", x), ("sqrt_transpose", x), ("sqrt", v)):
            found = getattr(single, name)(argument.float())
            assert found.dtype == torch.float32
            assert relative(found.double(), getattr(double, name)(argument)) < 1e-4

    def test_the_device_reaches_every_tensor(self) -> None:
        operator = self.operator(torch.float32, "meta")
        assert operator.device.type == "meta"
        x = torch.empty(self.shape, device="meta")
        v = torch.empty(operator.control_shape(self.shape), device="meta")
        found = [operator.sqrt(v), operator.sqrt_transpose(x), operator.apply(x)]
        if not self.iterative:
            found.append(operator.solve(x))
        for tensor in found:
            assert (tensor.device.type, tensor.dtype) == ("meta", torch.float32)

    def test_the_argument_does_not_change(self) -> None:
        operator, x, v = self.operator(), self.draw(0), self.draw_control(1)
        for method, argument in (
            (operator.apply, x),
            (operator.solve, x),
            (operator.sqrt_transpose, x),
            (operator.sqrt, v),
        ):
            before = argument.clone()
            method(argument)
            assert torch.equal(argument, before)

    def test_control_shape(self) -> None:
        operator = self.operator()
        shape = operator.control_shape(self.shape)
        assert isinstance(shape, tuple)
        assert shape[0] == self.shape[0]
        assert tuple(operator.sqrt_transpose(self.draw(0)).shape) == shape
        assert tuple(operator.sqrt(self.draw_control(0)).shape) == self.shape

    def test_inverse_hessian_against_a_dense_one(self) -> None:
        curvature = torch.tensor(0.8, dtype=torch.float64)
        found = self.operator().inverse_hessian(curvature, self.shape)
        if found is None:
            return
        root = dense(self.operator().sqrt, self.operator().control_shape(self.shape))
        hessian = torch.eye(root.shape[1], dtype=torch.float64) + curvature * root.T @ root
        control = self.operator().control_shape(self.shape)
        expected = hessian.inverse().diagonal().reshape(control[1:])
        assert found.expand(control).shape == control
        error = float((found / expected).log().abs().max())
        assert error < (1e-10 if self.exact_inverse_hessian else 0.5)

    def test_samples_have_the_stated_covariance(self) -> None:
        operator, matrix, count = self.operator(), self.matrix(), 4000
        shape = (count, *self.shape[1:])
        sample = operator.sample(shape, torch.Generator().manual_seed(0))
        assert torch.equal(sample, operator.sample(shape, torch.Generator().manual_seed(0)))
        states = sample.flatten(1)
        assert float(states[:, ~self.kept()].abs().sum()) == 0
        states = states[:, self.kept()]
        deviation = matrix.diagonal().sqrt()
        found = (states / deviation).T @ (states / deviation) / count
        expected = matrix / (deviation[:, None] * deviation)
        # An entry's error has the variance (1 + correlation^2) / count; 6 sigma holds them all.
        assert float((found - expected).abs().max()) < 6 * math.sqrt(2 / count)
        # x^T B^-1 x is chi squared with as many degrees as there are points.
        size = states.shape[1]
        distances = (states.T * torch.linalg.solve(matrix, states.T)).sum(0)
        assert abs(float(distances.mean()) - size) < 4 * math.sqrt(2 * size / count)
        assert abs(float(distances.var()) / (2 * size) - 1) < 0.15
