"""Reading of the option `background`, and its values on land."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xvar.errors import Faults
from xvar.plan.bridge import Array


@dataclass(frozen=True, eq=False)
class Cycled:
    r"""Each window begins from the forecast of the window before it: the cycling of an operational centre.

    Windows form chains, one for each stretch of the record without a gap that is longer than a window. Inside a chain
    they are solved one after the other; chains are independent. Windows are half-open, so that no frame is assimilated
    twice: the next begins at the first frame behind. A window behind one that failed begins anew, as the first does:
    ``background_source`` says it of each.

    Parameters
    ----------
    first : Dataset, optional
        x_b of the first window of each chain. Default: what `assimilate` takes without a background; a model of your
        own has no default.

    Notes
    -----
    Only the mean is carried, not the covariance of the analysis. With a model, errors or observations of your own,

    .. math:: x_b^{k+1} = M(x_a^k), \quad B_{k+1} = B + (t_{k+1} - t_k)\, Q,

    where :math:`t_k` is the first frame of window k, B the stated `background_error`, taken for the covariance of each
    analysis at the beginning of its window, and Q the stated `model_error` in a second. With the strong constraint,
    where windows themselves have no model error, a stated one grows B all the same; without one B stays. The frame at
    :math:`t_{k+1}` is an observation, while in the first window it may be the background. Where every analysis does
    have the covariance B, and the model leaves it as it is, this is the Kalman filter; otherwise it is a filter whose
    gain does not know what was observed before.

    For the currents of the sea (`xvar.core.methods.currents.Currents`) the current at the end of the window before is
    background and first guess, and B grows by its model error. For the motion of other images
    (`xvar.core.methods.image_motion.ImageMotion`) it is the steady motion and what is left of the transient one; B,
    which has no model error, stays.
    """

    first: xr.Dataset | None = None


def read_background(given: Any) -> tuple[bool, xr.Dataset | None]:
    """Return whether windows are cycled, and the background that is stated."""
    if isinstance(given, Cycled):
        return True, given.first
    return (True, None) if isinstance(given, str) else (False, given)


def complete(
    values: Array, land: Array | None, label: str, faults: Faults, fill: float | None = None, *, gaps: bool = False
) -> Array:
    """Fill land (y, x) with a number, or the mean of the sea; report values at sea that are not finite, but for `gaps`.

    Samplers at the coast and models need numbers there.
    """
    broken = ~np.isfinite(values)
    at_sea = broken if land is None else broken & ~land
    if at_sea.any() and not gaps:
        faults.add(
            code="background-incomplete",
            variable=label,
            index=tuple(int(axis[0]) for axis in np.nonzero(at_sea)[-2:]),
            found=f"{int(at_sea.sum())} values that are not finite, at sea",
            expected="a complete state, but on land",
            fix="background.fillna(...)",
        )
        return values
    if not broken.any():
        return values
    return np.where(broken, values[~broken].mean() if fill is None else fill, values)
