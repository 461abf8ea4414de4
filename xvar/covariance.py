"""Errors B, Q and R in physical units: for `assimilate(background_error=..., model_error=...)`."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from xvar.core.covariance import Covariance, Diagonal, Diffusion, Helmholtz, Matern, Specification, Tikhonov
from xvar.core.covariance.balance import Geostrophic
from xvar.core.covariance.ensemble import Ensemble
from xvar.core.covariance.homogeneous import Homogeneous
from xvar.core.covariance.streamfunction import Streamfunction
from xvar.errors import Faults

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "Covariance",
    "Diagonal",
    "Diffusion",
    "Ensemble",
    "Geostrophic",
    "Helmholtz",
    "Homogeneous",
    "Matern",
    "Specification",
    "Streamfunction",
    "Tikhonov",
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
    """Errors as the members of a Dataset show them, see `Ensemble`.

    Parameters
    ----------
    dataset : Dataset
        With a dimension of members and those of the grid, in any order and with any direction of 1-D coordinates.
    variables : sequence of hashable
        The variables of one component of the state, in its order.
    localisation, static, weight
        See `Ensemble`.
    member : hashable
        The dimension of the members.

    Returns
    -------
    Ensemble

    Raises
    ------
    InputError
        Where a variable is absent, or has other dimensions than the members' and two of a grid.
    """
    import torch

    faults = Faults()
    fields = []
    for name in variables:
        if name not in dataset:
            faults.add(
                found=f"no variable {name!r} among {', '.join(map(repr, dataset.data_vars))}",
                expected="a variable of the Dataset",
                fix="mend variables",
            )
            continue
        array = dataset[name].squeeze(drop=True)
        plane = [dim for dim in array.dims if dim != member]
        if member not in array.dims or len(plane) != 2:
            faults.add(
                variable=name,
                found=f"dimensions {array.dims}",
                expected=f"{member!r} and two of a grid",
                fix='member="the dimension of the members", and one time, isel(time=0)',
            )
            continue
        for dim in plane:
            if dim in array.coords and array.sizes[dim] > 1 and array[dim][0] > array[dim][-1]:
                array = array.isel({dim: slice(None, None, -1)})
        fields.append(np.asarray(array.transpose(member, *plane).values, dtype="float64"))
    faults.raise_if_any()
    return Ensemble(torch.from_numpy(np.stack(fields, axis=1)), localisation, static, weight)
