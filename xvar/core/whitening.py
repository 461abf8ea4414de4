r"""Residuals of observations with correlated errors: :math:`R^{-1/2} d` over the values that were observed."""

from __future__ import annotations

import torch
from torch import Tensor

from xvar.core.covariance.base import Covariance
from xvar.core.linear_maps import conjugate_gradients, linear


def whitened(departure: Tensor, covariance: Covariance, mask: Tensor) -> Tensor:
    r"""Return :math:`W d` (window, n) with :math:`W^T W = (P R P^T)^{-1}`, P the selection of the values in a mask.

    .. math:: W = U^T P^T (P R P^T)^{-1}, \qquad R = U U^T

    Of a complete window the inverse is that of the covariance, :math:`W = U^T R^{-1}`; of one with missing values
    conjugate gradients solve the observed block, to a residual of 1e-14, with the inverse of the whole as the
    preconditioner. Everything is in double precision, and W has its exact adjoint. The covariance is one of double
    precision; a departure (window, component, *grid) is zero beyond the mask.
    """
    complete = mask.flatten(1).all(dim=1)

    def solve(values: Tensor) -> Tensor:
        if bool(complete.all()):
            return covariance.solve(values)
        found = torch.empty_like(values)
        for rows, is_complete in ((complete, True), (~complete, False)):
            windows = rows.nonzero().flatten()
            if len(windows):
                own, kept = covariance.select(windows), mask[windows].to(values)
                found[windows] = own.solve(values[windows]) if is_complete else _block(own, values[windows], kept)
        return found

    def forward(values: Tensor) -> Tensor:
        return covariance.sqrt_transpose(solve(values.to(torch.float64))).flatten(1).to(values.dtype)

    def adjoint(control: Tensor) -> Tensor:
        shape = covariance.control_shape(tuple(mask.shape))
        field = covariance.sqrt(control.to(torch.float64).reshape(-1, *shape[1:]))
        return solve(torch.where(mask, field, 0.0)).to(control.dtype)

    return linear(departure, forward, adjoint)


def _block(covariance: Covariance, values: Tensor, kept: Tensor) -> Tensor:
    """Solve the observed block of some windows, `kept` one for observed values and zero for others."""
    return conjugate_gradients(
        lambda field: kept * covariance.apply(kept * field), values, lambda field: kept * covariance.solve(kept * field)
    )
