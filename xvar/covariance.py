"""Covariances B and Q in physical units, for `assimilate(background_error=..., model_error=...)`."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xvar.core.covariance import Covariance, Diagonal, Diffusion, Helmholtz, Matern, Specification, Tikhonov
from xvar.core.covariance.balance import Geostrophic, Streamfunction
from xvar.core.covariance.channels import Channels
from xvar.core.covariance.composite import Ensemble
from xvar.core.covariance.gaspari_cohn import GaspariCohn
from xvar.core.covariance.homogeneous import Homogeneous
from xvar.core.covariance.matrix import Dense, Uniform
from xvar.core.covariance.product import Product
from xvar.errors import Faults, nearest

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "Channels",
    "Covariance",
    "Dense",
    "Diagonal",
    "Diffusion",
    "Ensemble",
    "GaspariCohn",
    "Geostrophic",
    "Helmholtz",
    "Homogeneous",
    "Matern",
    "Product",
    "Specification",
    "Streamfunction",
    "Tikhonov",
    "Uniform",
    "ensemble",
]


def ensemble(
    dataset: xr.Dataset,
    variables: Sequence[Hashable],
    localisation: Specification,
    static: Specification | None = None,
    weight: float | None = None,
    *,
    member: Hashable = "member",
) -> Ensemble:
    """Return the covariance of an ensemble in a Dataset, see `Ensemble`.

    Parameters
    ----------
    dataset : Dataset
        With the dimension of the members and two of a grid, in any order and with any direction of 1-D coordinates.
    variables : sequence of hashable
        The variables of one component of the state, in its order.
    localisation, static, weight
        As in `Ensemble`.
    member : hashable
        Dimension of the members.

    Returns
    -------
    Ensemble

    Raises
    ------
    InputError
        A variable is absent, or has other dimensions.
    """
    import torch

    faults = Faults()
    fields = []
    for name in variables:
        if name not in dataset:
            known = list(dataset.data_vars)
            faults.add(
                code="variable-missing",
                found=f"no variable {name!r} in the ensemble",
                expected=f"one of {', '.join(map(repr, known))}",
                fix=nearest(name, known, f"variables={known}"),
            )
            continue
        array = dataset[name].squeeze(drop=True)
        plane = [dim for dim in array.dims if dim != member]
        if member not in array.dims or len(plane) != 2:
            faults.add(
                code="ensemble-dimensions",
                variable=name,
                found=f"dimensions {array.dims}",
                expected=f"{member!r} and two of a grid",
                fix='member="number" (the name of the dimension), dataset.isel(time=0)',
            )
            continue
        for dim in plane:
            line = _line(array, dim, plane)
            if line is not None and line.size > 1 and line[0] > line[-1]:
                array = array.isel({dim: slice(None, None, -1)})
        fields.append(np.asarray(array.transpose(member, *plane).values, dtype="float64"))
    faults.raise_if_any()
    return Ensemble(torch.from_numpy(np.stack(fields, axis=1)), localisation, static, weight)


def _line(array: xr.DataArray, dim: Hashable, plane: Sequence[Hashable]) -> np.ndarray[Any, Any] | None:
    """Return the coordinate along a dimension, also of one on both of which every line is the same."""
    if dim in array.coords:
        return np.asarray(array[dim].values)
    other = next(one for one in plane if one != dim)
    for part in array.coords.values():
        if set(part.dims) == set(plane) and part.dtype.kind in "fiu":
            values = np.asarray(part.transpose(other, dim).values, dtype="float64")
            values = np.unwrap(values, period=360.0) if "degree" in str(part.attrs.get("units", "")) else values
            if np.ptp(values[0]) > 0 and np.abs(values - values[:1]).max() < 1e-5:
                return np.asarray(values[0])
    return None
