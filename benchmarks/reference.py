r"""The 4D-Var of Filoche et al. (2021) in its plainest form: the anchor against which speed is stated.

.. math::

    J = \tfrac12 \sum b\, q'^2 + \tfrac12 \sum_k \sum r_k (q_k - y_k)^2
        + \tfrac12 \sum \alpha |\nabla w'|^2 + \beta (\nabla \cdot w')^2 + \tfrac12 \sum_k \sum \gamma |\nabla \eta_k|^2

with the increments :math:`w', q'` of motion and tracer at the first frame and the model errors :math:`\eta_k` of the
motion, minimised by L-BFGS without a preconditioner. Every field is interpolated by itself, by index arithmetic. It is
not meant to be fast: do not improve it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad


@dataclass(frozen=True)
class Settings:
    """Grid, steps, and the weights of J; zero `model_error` is the strong constraint."""

    spacing: float  # m
    seconds: float  # of a step
    tracer: float  # b
    gradient: float  # alpha
    divergence: float  # beta
    model_error: float = 0.0  # gamma
    steps: int = 5  # from frame to frame


RAIN = Settings(spacing=1200.0, seconds=60.0, tracer=0.01, gradient=5e9, divergence=5e6)
SST = Settings(spacing=1e4, seconds=17280.0, tracer=0.1, gradient=1e9, divergence=1e10, model_error=1e9)


@dataclass(frozen=True)
class Result:
    """What a minimisation came to."""

    costs: list[float]  # at every evaluation, the first that of the background
    u: Tensor  # at the end of the window
    v: Tensor
    seconds: float

    @property
    def milliseconds(self) -> float:
        """Of an evaluation of J and its gradient, L-BFGS included."""
        return 1e3 * self.seconds / len(self.costs)


def interpolate(field: Tensor, down: Tensor, right: Tensor, ring: str) -> Tensor:
    """A field where parcels come from, `down` and `right` of each grid point, with a ring of cells around the grid."""
    around = (
        pad(field, (1, 1, 1, 1)) if ring == "zeros" else pad(field[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    )
    rows, columns = torch.meshgrid(*(torch.arange(1, n + 1) for n in field.shape), indexing="ij")
    corners = []
    for start, shift, last in ((rows, down, field.shape[0] + 1), (columns, right, field.shape[1] + 1)):
        whole = torch.floor(shift)
        before = start + whole.long()
        corners.append((before.clamp(0, last), (before + 1).clamp(0, last), shift - whole))
    (y0, y1, fy), (x0, x1, fx) = corners
    upper = around[y0, x0] * (1 - fx) + around[y0, x1] * fx
    lower = around[y1, x0] * (1 - fx) + around[y1, x1] * fx
    return upper * (1 - fy) + lower * fy


def carry(u: Tensor, v: Tensor, tracer: Tensor, down: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Motion and tracer from where the parcels come."""
    return (
        interpolate(u, down, right, "zeros"),
        interpolate(v, down, right, "zeros"),
        interpolate(tracer, down, right, "copies"),
    )


def differences(field: Tensor, spacing: float) -> tuple[Tensor, Tensor]:
    """Forward differences along y and x, with a zero beyond the far edges."""
    return (pad(field[1:], (0, 0, 0, 1)) - field) / spacing, (pad(field[:, 1:], (0, 1)) - field) / spacing


class Window:
    """One window: J, and its minimisation.

    Parameters
    ----------
    frames : Tensor (frame, y, x)
        The first is the background, with no motion.
    weights : Tensor (frame - 1, y, x)
        Inverse variances of the others.
    settings : Settings
    """

    def __init__(self, frames: Tensor, weights: Tensor, settings: Settings) -> None:
        self.frames, self.weights, self.settings = frames, weights, settings
        shape = frames.shape[1:]
        self.increment = [frames.new_zeros(shape, requires_grad=True) for _ in range(3)]
        forced = len(frames) - 2 if settings.model_error else 0
        self.errors = [[frames.new_zeros(shape, requires_grad=True) for _ in range(2)] for _ in range(forced)]

    def integrate(self) -> tuple[Tensor, Tensor, Tensor]:
        """The misfit, and the motion at the end; a frame takes the tracer's place once it is compared."""
        settings = self.settings
        u, v, tracer = self.increment
        tracer = self.frames[0] + tracer
        misfit = tracer.new_zeros(())
        cells = settings.seconds / settings.spacing
        for frame in range(1, len(self.frames)):
            for step in range(settings.steps):
                u, v, tracer = carry(u, v, tracer, -v * cells, -u * cells)
                if self.errors and frame >= 2 and step == settings.steps - 2:  # a step before the frame
                    u, v = u + self.errors[frame - 2][0], v + self.errors[frame - 2][1]
            misfit = misfit + (self.weights[frame - 1] * (tracer - self.frames[frame]) ** 2).sum()
            tracer = self.frames[frame]
        return misfit, u, v

    def evaluate(self) -> Tensor:
        """J, and the gradients beside the controls."""
        settings = self.settings
        u, v, tracer = self.increment
        (uy, ux), (vy, vx) = differences(u, settings.spacing), differences(v, settings.spacing)
        twice = self.integrate()[0] + settings.tracer * (tracer**2).sum()
        twice = twice + settings.gradient * (ux**2 + uy**2 + vx**2 + vy**2).sum()
        twice = twice + settings.divergence * ((ux + vy) ** 2).sum()
        for error in self.errors:
            for part in error:
                along_y, along_x = differences(part, settings.spacing)
                twice = twice + settings.model_error * (along_x**2 + along_y**2).sum()
        cost = 0.5 * twice
        for control in self.controls:
            control.grad = None
        cost.backward()
        return cost

    @property
    def controls(self) -> list[Tensor]:
        """All that J is minimised by."""
        return [*self.increment, *(part for error in self.errors for part in error)]

    def minimise(self, evaluations: int = 300) -> Result:
        """L-BFGS as torch has it."""
        optimizer = torch.optim.LBFGS(self.controls, lr=1, max_iter=evaluations, max_eval=evaluations)
        costs: list[float] = []

        def closure() -> Tensor:
            cost = self.evaluate()
            costs.append(cost.item())
            return cost.detach()

        begin = time.perf_counter()
        optimizer.step(closure)
        seconds = time.perf_counter() - begin
        with torch.no_grad():
            _, u, v = self.integrate()
        return Result(costs, u, v, seconds)


def smoothed(frames: Tensor) -> Tensor:
    """Mean over 5 by 5 pixels, with zeros beyond the edges."""
    return avg_pool2d(frames[:, None], 5, stride=1, padding=2)[:, 0]


def rain_window(frames: NDArray[np.floating], dtype: torch.dtype = torch.float32) -> Window:
    """The rain case: frames (time, y, x) in the file's integers."""
    images = smoothed(torch.as_tensor(np.array(frames), dtype=dtype))
    return Window(images, torch.where(images[1:] > 0.5, 25.0, 0.04).to(dtype), RAIN)


def sst_window(frames: NDArray[np.floating], dtype: torch.dtype = torch.float32) -> Window:
    """The weak-constraint case of sea surface temperature: daily frames (time, y, x)."""
    images = torch.as_tensor(np.array(frames), dtype=dtype)
    return Window(images, torch.full_like(images[1:], 0.1), SST)


def sst_frames(size: int = 240, days: int = 4) -> NDArray[np.float64]:
    """A front and eddies in a steady shear of up to 0.6 m/s along both axes, followed back to the first day."""
    y, x = np.meshgrid(*(np.arange(size) * 2 * np.pi / size,) * 2, indexing="ij")
    frames = []
    for day in range(days):
        angle = 0.6 * 86400 * day * 2 * np.pi / (size * SST.spacing)
        at_x, at_y = x - angle * np.cos(y), y - angle * np.cos(x)
        frames.append(15 + 4 * np.tanh(3 * np.sin(at_y + 0.4 * np.sin(2 * at_x))) + np.cos(5 * at_x) * np.sin(4 * at_y))
    return np.stack(frames)


def rain_forecasts(frames: NDArray[np.floating], result: Result, count: int = 3) -> NDArray[np.floating]:
    """The last smoothed frame carried on by the motion, which carries itself: one forecast a frame, as in the paper.

    Steps are half as long as those of the analysis. The velocity of a parcel is the mean of that at its end now and
    that at its origin extrapolated by one step; the origin is found by five iterations.
    """
    cells = 0.5 * RAIN.seconds / RAIN.spacing
    last = smoothed(torch.as_tensor(np.array(frames[-1:]), dtype=result.u.dtype))[0]
    now = before = (result.u, result.v, last)
    forecasts = []
    for _ in range(count):
        for _ in range(2 * RAIN.steps):
            (u, v, _), (u_before, v_before, _) = now, before
            right, down = (-cells * (1.5 * w - 0.5 * old) for w, old in ((u, u_before), (v, v_before)))
            for _ in range(5):
                right, down = (
                    -0.5 * cells * (interpolate(2 * w - old, down, right, "zeros") + w)
                    for w, old in ((u, u_before), (v, v_before))
                )
            before, now = now, carry(*now, down, right)
        forecasts.append(now[2].numpy())
    return np.stack(forecasts)


def main() -> None:
    """The rain case, with its figures."""
    from xvar.datasets import sample

    torch.set_num_threads(1)
    rain = sample()["rain"].values
    for dtype in (torch.float32, torch.float64):
        print(f"J at the background in {dtype}: {rain_window(rain[:4], dtype).evaluate().item():.8g}")
    result = rain_window(rain[:4]).minimise()
    print(f"J {result.costs[-1]:.6g} after {len(result.costs)} evaluations, {result.milliseconds:.1f} ms each")
    error = np.sqrt(((rain_forecasts(rain[:4], result) - rain[4:7]) ** 2).mean((1, 2)))
    print("RMSE 5, 10, 15 min ahead:", error.round(2))


if __name__ == "__main__":
    main()
