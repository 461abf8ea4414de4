"""The interface of covariance operators and of their specifications, uncorrelated errors, and tests of an operator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from xvar.core.grid import Device, Grid
from xvar.errors import Fault, InputError

Shape = tuple[int, ...]
Penalty = Callable[[Tensor], Tensor]
Operator = TypeVar("Operator", bound="Covariance")


class Covariance(ABC):
    r"""Symmetric positive operator :math:`B = B^{1/2} B^{T/2}` on states (window, component, \*grid).

    Every method is linear and acts on each window alone, with the same bits whatever else is in the batch (one
    thread). An operator holds tensors of one dtype on one device; bind the specification again for others.

    Attributes
    ----------
    dtype : torch.dtype
    device : torch.device
    """

    dtype: torch.dtype
    device: torch.device

    @abstractmethod
    def sqrt(self, control: Tensor) -> Tensor:
        r"""Return :math:`B^{1/2} v`: from the control (of `control_shape`) to the state (window, component, \*grid)."""

    @abstractmethod
    def sqrt_transpose(self, state: Tensor) -> Tensor:
        r"""Return :math:`B^{T/2} x`: the adjoint of `sqrt`, from the state to the control."""

    @abstractmethod
    def solve(self, state: Tensor) -> Tensor:
        r"""Return :math:`B^{-1} x`, the inverse of `apply`."""

    def inverse_sqrt(self, state: Tensor) -> Tensor:
        r"""Return :math:`B^{-1/2} x = B^{T/2} B^{-1} x`, the control of a state."""
        return self.sqrt_transpose(self.solve(state))

    def apply(self, state: Tensor) -> Tensor:
        r"""Return :math:`B x`."""
        return self.sqrt(self.sqrt_transpose(state))

    def control_shape(self, shape: Shape) -> Shape:
        r"""Return the shape of the control of states of the shape (window, component, \*grid)."""
        return tuple(shape)

    def inverse_hessian(self, curvature: Tensor, shape: Shape) -> Tensor | None:  # noqa: ARG002 -- interface
        r"""Approximate the diagonal of :math:`(I + B^{T/2} C B^{1/2})^{-1}` in the control; None if it is unknown.

        C is the curvature of J_o by each value of the state, broadcastable to (window, component, \*grid).
        """
        return None

    def refine(self, coarse: Covariance, control: Tensor) -> Tensor | None:  # noqa: ARG002 -- interface
        """Return the control of the field of a control on a coarser grid; None if the field has to be interpolated."""
        return None

    def embed(self, coarse: Covariance, control: Tensor) -> Tensor | None:  # noqa: ARG002 -- interface
        """Return the control of the same waves on this grid; None if the field has to be interpolated."""
        return None

    #: What operators of a class must share to be applied together, by one that `stack` returns; None: each is alone.
    stack_key: Any = None

    @classmethod
    def stack(cls, parts: Sequence[tuple[Any, int]]) -> Covariance:
        """Return one operator on the components of several, each with their number, if there is a `stack_key`."""
        raise NotImplementedError

    #: Attributes that depend on the window: tensors (window, ...), covariances or tuples of them; None is allowed.
    _of_windows: ClassVar[tuple[str, ...]] = ()

    def select(self: Operator, windows: Tensor) -> Operator:
        """Return the operator of some windows of the batch; itself if all windows have the same."""
        if not self._of_windows:
            return self
        part = copy(self)
        for name in self._of_windows:
            setattr(part, name, _selected(getattr(self, name), windows))
        return part

    def sample(self, shape: Shape, generator: torch.Generator) -> Tensor:
        r"""Draw states of this shape from N(0, B).

        Random numbers are drawn on the device of the generator, so a seed gives the same draw on any device.
        """
        size = self.control_shape(shape)
        control = torch.randn(size, generator=generator, dtype=self.dtype, device=generator.device)
        return self.sqrt(control.to(self.device))


def _selected(part: Any, windows: Tensor) -> Any:
    if isinstance(part, tuple):
        return tuple(_selected(one, windows) for one in part)
    if isinstance(part, Covariance):
        return part.select(windows)
    return part if part is None or len(part) == 1 else part[windows]


class Specification(ABC):
    """A covariance in physical units (metres, seconds, the variable's units), independent of a grid."""

    @abstractmethod
    def bind(self, grid: Grid, *, dtype: torch.dtype = torch.float32, device: Device = None) -> Covariance:
        """Return the operator on a grid, all its tensors of this dtype on this device.

        Raises
        ------
        InputError
            A number is out of range, or does not fit the grid.
        """

    def penalties(self, grid: Grid) -> Mapping[str, Penalty]:  # noqa: ARG002 -- interface
        r"""Return terms of J beside :math:`\frac12 x^T B^{-1} x` of the bound operator, by name.

        Each is a function of the increment (window, component, \*grid) that returns its value for each window,
        (window,). Empty unless the whole has no exact square root.
        """
        return {}


def checked_deviation(std: float | Tensor, grid: Grid) -> Tensor:
    r"""Return a standard deviation in float64 on the CPU, with an axis for each of (window, component, \*grid).

    Raises InputError if it is negative, not finite, or has another shape than the grid.
    """
    deviation = torch.as_tensor(std, dtype=torch.float64, device="cpu").detach()
    axes = len(grid.shape)
    own = tuple(deviation.shape)[-axes:]
    if deviation.ndim > axes + 2 or any(
        n not in (1, m) for n, m in zip(reversed(own), reversed(grid.shape), strict=False)
    ):
        found = f"a standard deviation of shape {tuple(deviation.shape)}"
        expected = f"one broadcastable to (window, component, *grid) with a grid of shape {grid.shape}"
        raise InputError(Fault(found, expected, "std=1.0, or a tensor on the grid", code="std-shape"))
    if not bool(((deviation >= 0) & deviation.isfinite()).all()):
        found, expected = "a standard deviation that is negative or not finite", "finite numbers, zero or more"
        raise InputError(Fault(found, expected, "std=std.nan_to_num().abs()", code="std-not-valid"))
    return deviation.reshape((1,) * (axes + 2 - deviation.ndim) + tuple(deviation.shape))


class DiagonalCovariance(Covariance):
    r""":math:`B = \mathrm{diag}(\sigma^2)`, with σ broadcastable to (window, component, \*grid).

    If σ is zero, `solve` is the pseudo-inverse.
    """

    _of_windows = ("std", "_inverse")

    def __init__(self, std: Tensor) -> None:
        self.std = std
        self.dtype, self.device = std.dtype, std.device
        self._inverse = torch.where(std > 0, 1 / std**2, torch.zeros_like(std))

    def sqrt(self, control: Tensor) -> Tensor:
        """Multiply by the standard deviation."""
        return control * self.std

    def sqrt_transpose(self, state: Tensor) -> Tensor:
        """Multiply by the standard deviation."""
        return state * self.std

    def solve(self, state: Tensor) -> Tensor:
        """Divide by the variance."""
        return state * self._inverse

    def inverse_hessian(self, curvature: Tensor, shape: Shape) -> Tensor:
        """Return the variance of the analysis over that of the background, exactly."""
        return (1 / (1 + self.std**2 * curvature)).expand(shape)


@dataclass(frozen=True, eq=False)
class Diagonal(Specification):
    r"""Uncorrelated errors: :math:`B = \mathrm{diag}(\sigma^2)`.

    Parameters
    ----------
    std : float or Tensor
        Standard deviation in the variable's units, broadcastable to (window, component, \*grid); zero means no error.
    """

    std: float | Tensor

    def bind(self, grid: Grid, *, dtype: torch.dtype = torch.float32, device: Device = None) -> DiagonalCovariance:
        """Return the operator on a grid; see `Specification.bind`."""
        return DiagonalCovariance(checked_deviation(self.std, grid).to(device=device, dtype=dtype))


#: Largest asymmetry, and largest negative eigenvalue over the largest of all, of an operator in float64.
GATE = 1e-9
#: Steps of the Lanczos iteration.
STEPS = 30


def validity_fault(specification: Specification, grid: Grid, components: int) -> Fault | None:
    """Return the fault of a covariance that is not symmetric or not positive on a grid; None if it is both.

    The covariances of xvar are symmetric and positive by construction and are not tested.
    """
    if type(specification).__module__.partition(".")[0] == "xvar":
        return None
    operator = specification.bind(grid, dtype=torch.float64)
    asymmetry, least = spectrum(operator, (1, components, *grid.shape))
    if asymmetry > GATE:
        return Fault(
            f"a covariance that is not symmetric: <x, By> and <Bx, y> differ by {asymmetry:.2g} of their size",
            "a covariance: symmetric, and no eigenvalue below zero",
            "B = (A + A^T) / 2; see xvar.check.covariance",
            code="covariance-not-symmetric",
        )
    if least < -GATE:
        return Fault(
            f"a covariance that is not positive: its least eigenvalue is {least:.3g} times the largest",
            "a covariance: symmetric, and no eigenvalue below zero",
            "set the negative part of its spectrum to zero, or shorten its tails; see xvar.check.covariance",
            code="covariance-not-positive",
        )
    return None


def spectrum(
    operator: Covariance, size: Sequence[int], generator: torch.Generator | None = None
) -> tuple[float, float]:
    r"""Return the asymmetry of a float64 operator, and its least eigenvalue over the largest.

    The asymmetry is :math:`|\langle x, By\rangle - \langle Bx, y\rangle| / |x| |By|` for random x and y. The
    eigenvalues are those of the Lanczos iteration with full reorthogonalisation, which finds the ends of the spectrum
    first. Of states (window, component, \*grid) of this size the first window is tested.
    """
    generator = generator or torch.Generator().manual_seed(0)
    one = (1, *size[1:])
    if size[0] > 1:
        operator = operator.select(torch.tensor([0]))

    def apply(flat: Tensor) -> Tensor:
        return operator.apply(flat.reshape(one)).reshape(-1)

    count = int(torch.tensor(one).prod())
    x, y = (torch.randn(count, generator=generator, dtype=torch.float64) for _ in range(2))
    with torch.no_grad():
        bx, by = apply(x), apply(y)
        asymmetry = float((x @ by - bx @ y).abs() / (x.norm() * by.norm()).clamp_min(1e-300))
        basis, projected = [x / x.norm()], torch.zeros(0, 0, dtype=torch.float64)
        for step in range(min(STEPS, count)):
            image = apply(basis[step])
            stacked = torch.stack(basis)
            grown = torch.zeros(step + 1, step + 1, dtype=torch.float64)
            grown[:step, :step] = projected
            grown[:, step] = grown[step, :] = stacked @ image
            projected = grown
            for _ in range(2):
                image = image - stacked.T @ (stacked @ image)
            if float(image.norm()) <= 1e-12 * float(by.norm()):
                break
            basis.append(image / image.norm())
        values = torch.linalg.eigvalsh(projected)
    return asymmetry, float(values[0] / values.abs().max().clamp_min(1e-300))
