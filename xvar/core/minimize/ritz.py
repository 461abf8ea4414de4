r"""Preconditioner of inner loops from Ritz vectors of the Hessian, which earlier inner loops have found."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from xvar.core.linear_maps import Map
from xvar.core.minimize.lbfgs import dot

#: Largest error of a Ritz pair, :math:`|A u - \theta u| / \theta`, with which it is used.
RITZ_ERROR = 0.1


@dataclass(frozen=True)
class RitzPair:
    r"""Approximate eigenvector u (window, n) of unit length, and :math:`\theta^{-1/2}` (window, 1).

    A window without such a vector has zeros and one.
    """

    vector: Tensor
    factor: Tensor

    def scale(self, control: Tensor) -> Tensor:
        r"""Return :math:`(I + (\theta^{-1/2} - 1)\, u u^T) v`."""
        return control + (self.factor - 1) * dot(self.vector, control)[:, None] * self.vector

    def select(self, windows: Tensor) -> RitzPair:
        """Return the pair of some windows."""
        return RitzPair(self.vector[windows], self.factor[windows])

    def spread(self, windows: Tensor, count: int) -> RitzPair:
        """Return the pair of some windows as one of a batch of `count`, of which the others have none."""
        vector, factor = self.vector.new_zeros(count, self.vector.shape[1]), self.factor.new_ones(count, 1)
        vector[windows], factor[windows] = self.vector, self.factor
        return RitzPair(vector, factor)


@dataclass(frozen=True)
class RitzPreconditioner:
    r"""Approximate inverse :math:`L L^T` of the Hessian A, which brings its large eigenvalues to about one.

    .. math:: L = D^{1/2} \prod_i \left(I + (\theta_i^{-1/2} - 1)\, u_i u_i^T\right)

    with D the diagonal of an approximate inverse. The pairs of an inner loop are Ritz pairs of :math:`L^T A L` with the
    L before that loop, and orthogonal to one another.
    """

    diagonal: Tensor  # D, (window, n) or (window, 1)
    pairs: tuple[RitzPair, ...] = ()  # in the order of the loops

    def select(self, windows: Tensor) -> RitzPreconditioner:
        """Return the preconditioner of some windows."""
        return RitzPreconditioner(self.diagonal[windows], tuple(pair.select(windows) for pair in self.pairs))

    def apply(self, control: Tensor) -> Tensor:
        """Return L times a control."""
        for pair in reversed(self.pairs):
            control = pair.scale(control)
        return self.diagonal.sqrt() * control

    def transpose(self, control: Tensor) -> Tensor:
        """Return the transpose of L times a control."""
        control = self.diagonal.sqrt() * control
        for pair in self.pairs:
            control = pair.scale(control)
        return control

    def solve(self, operator: Map, right: Tensor, tolerance: float, iterations: int) -> InnerLoop:
        r"""Approximate the solution of A x = b by conjugate gradients for :math:`L^T A L y = L^T b`, x = L y.

        The stopping rule is that of `xvar.core.linear_maps.truncated_conjugate_gradients`. Residuals are made
        orthogonal to all before, so that they are Lanczos vectors.
        """
        residual = direction = self.transpose(right)
        solution, power = torch.zeros_like(residual), dot(residual, residual)
        first, loop = power, InnerLoop(solution, len(right))
        for _ in range(iterations):
            active = power > tolerance * first
            if not bool(active.any()):
                break
            image = self.transpose(operator(self.apply(direction)))
            step = torch.where(active, power / dot(direction, image), 0.0)
            loop.basis.append(torch.where(active, power.rsqrt(), 0.0)[:, None] * residual)
            solution = solution + step[:, None] * direction
            left = residual - step[:, None] * image
            for vector in (*loop.basis, *loop.basis):
                left = left - dot(vector, left)[:, None] * vector
            residual = torch.where(active[:, None], left, residual)
            turn = torch.where(active, dot(residual, residual) / power, 0.0)
            direction = residual + turn[:, None] * direction
            power = torch.where(active, power * turn, power)
            loop.note(active, step, turn)
        return replace(loop, solution=self.apply(solution))

    def with_pairs(self, loop: InnerLoop, vectors: int, windows: Tensor) -> RitzPreconditioner:
        """Return the preconditioner with so many Ritz pairs of an inner loop of some windows, the largest."""
        added = (pair.spread(windows, len(self.diagonal)) for pair in loop.pairs(vectors))
        return RitzPreconditioner(self.diagonal, (*self.pairs, *added))


@dataclass(frozen=True)
class InnerLoop:
    """Result of conjugate gradients, with the Lanczos vectors and the tridiagonal matrix of each window."""

    solution: Tensor  # (window, n)
    windows: int
    basis: list[Tensor] = field(default_factory=list)  # one (window, n) for each product
    rows: list[list[tuple[float, float]]] = field(default_factory=list)  # step and turn of each product, by window

    def note(self, active: Tensor, step: Tensor, turn: Tensor) -> None:
        """Record the coefficients of a product for the windows that moved."""
        self.rows.extend([] for _ in range(self.windows - len(self.rows)))
        for row, moved, *pair in zip(self.rows, active.tolist(), step.tolist(), turn.tolist(), strict=True):
            if moved:
                row.append((pair[0], pair[1]))

    @property
    def products(self) -> Tensor:
        """Number of products of each window (window,)."""
        counts = [len(row) for row in self.rows] or [0] * self.windows
        return torch.tensor(counts, dtype=torch.int64, device=self.solution.device)

    def pairs(self, count: int) -> list[RitzPair]:
        """Return the Ritz pairs with the largest values above one and errors of at most `RITZ_ERROR`, at most `count`.

        A pair is one of every window. Products are those of each window alone, so that no bit depends on the batch.
        """
        every = [self._of_window(number, count) for number in range(self.windows)]
        most = max((len(values) for values, _ in every), default=0)
        vectors = self.solution.new_zeros(most, *self.solution.shape)
        factors = self.solution.new_ones(most, self.windows, 1)
        for number, (values, own) in enumerate(every):
            vectors[: len(values), number] = own
            factors[: len(values), number, 0] = values.rsqrt().to(factors)
        return [RitzPair(vector, factor) for vector, factor in zip(vectors, factors, strict=True)]

    def _of_window(self, number: int, count: int) -> tuple[Tensor, Tensor]:
        """Return Ritz values (pair,) and vectors (pair, n) of one window."""
        matrix, left = _tridiagonal(self.rows[number] if self.rows else [])
        values, shares = torch.linalg.eigh(matrix)
        errors = left * shares[-1:].abs().flatten() / values if len(values) else values
        chosen = torch.nonzero((errors <= RITZ_ERROR) & (values > 1)).flatten().flip(0)[:count]
        rows = [vector[number] for vector in self.basis[: len(values)]]
        basis = torch.stack(rows) if rows else self.solution.new_zeros(0, self.solution.shape[1])
        return values[chosen], shares[:, chosen].T.to(basis).contiguous() @ basis


def _tridiagonal(rows: list[tuple[float, float]]) -> tuple[Tensor, float]:
    r"""Return the projection of the operator on the Lanczos vectors, and the norm of what is beyond it.

    With steps :math:`\alpha_j` and turns :math:`\beta_j` its diagonal is :math:`1/\alpha_j + \beta_{j-1}/\alpha_{j-1}`,
    beside it stands :math:`-\sqrt{\beta_j}/\alpha_j` (Saad 2003, section 6.7.3).
    """
    matrix = torch.zeros(len(rows), len(rows), dtype=torch.float64)
    before = 0.0
    beside = 0.0
    for index, (step, turn) in enumerate(rows):
        matrix[index, index] = 1 / step + before
        if index:
            matrix[index, index - 1] = matrix[index - 1, index] = beside
        before, beside = turn / step, -(turn**0.5) / step
    return matrix, abs(beside)
