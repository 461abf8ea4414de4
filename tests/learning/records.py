"""Records and models of the tests of learning."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pandas as pd
import torch
import xarray as xr

from xvar.covariance import Diagonal
from xvar.dynamics import Corrected
from xvar.minimize import LBFGS

FRAME = 600.0  # seconds
RATE = 2e-4  # s-1, of the decay that the model does not know


class Decay(torch.nn.Module):
    r"""A tracer that decays, :math:`\dot c = -r c`: linear in the state."""

    components: ClassVar = {"tracer": ("tracer",)}

    def __init__(self, rate: float = 1e-4) -> None:
        super().__init__()
        self.logarithm = torch.nn.Parameter(torch.tensor(rate, dtype=torch.float64).log())

    def forward(self, state, seconds):
        factor = torch.exp(-self.logarithm.exp() * seconds)
        return {key: values * factor.to(values.dtype) for key, values in state.items()}


class Still:
    """Persistence."""

    components: ClassVar = {"tracer": ("tracer",)}

    def __call__(self, state, seconds):
        return {key: values + 0.0 for key, values in state.items()}


def corrected(seed: int = 0, dtype: torch.dtype = torch.float64) -> Corrected:
    """Return persistence with a small network that corrects it, with a gain that is not zero."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.Tanh(), torch.nn.Conv2d(4, 1, 1))
    return Corrected(Still(), network, scale=RATE).to(dtype)


def record(frames: int = 25, noise: float = 0.02, seed: int = 0) -> xr.Dataset:
    """Return images of a tracer that decays and is renewed every six frames, with noise."""
    generator = np.random.default_rng(seed)
    truth = []
    for frame in range(frames):
        if frame % 6 == 0:
            truth.append(1 + generator.random((5, 6)))
        else:
            truth.append(truth[-1] * np.exp(-RATE * FRAME))
    values = np.stack(truth) + noise * generator.standard_normal((frames, 5, 6))
    along = {name: (name, 1e3 * np.arange(size), {"units": "m"}) for name, size in (("y", 5), ("x", 6))}
    times = pd.date_range("2024-01-01", periods=frames, freq=pd.Timedelta(seconds=FRAME))
    return xr.Dataset({"tracer": (("time", "y", "x"), values, {"units": "1"})}, {"time": times, **along})


#: Windows of four frames that lie between two renewals, minimised to the precision of the numbers.
OPTIONS = {
    "window": 4,
    "stride": 6,
    "background_error": {"tracer": Diagonal(0.5)},
    "observation_error": 0.02,
    "dtype": "float64",
    "minimizer": LBFGS(max_evaluations=500, gtol=1e-12, ftol=0.0),
}
WEAK = OPTIONS | {"constraint": "weak", "model_error": {"tracer": Diagonal(1e-3)}}


def steady(frames: int = 24, noise: float = 0.02, seed: int = 3) -> xr.Dataset:
    """Return images of a tracer that decays all the time."""
    generator = np.random.default_rng(seed)
    first = 5 + generator.random((5, 6))
    truth = first * np.exp(-RATE * FRAME * np.arange(frames))[:, None, None]
    data = record(frames)
    return data.copy(data={"tracer": truth + noise * generator.standard_normal(truth.shape)})


STEADY = steady()
