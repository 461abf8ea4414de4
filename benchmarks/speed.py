"""What a window costs: ratios of times that were measured side by side, on one thread."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr

import xvar.datasets
from benchmarks import nowcast, reference
from xvar.core.cost import Cost
from xvar.core.covariance import Diagonal, Tikhonov
from xvar.core.grid import Grid
from xvar.core.methods.image_motion import ImageMotion
from xvar.core.methods.image_problems import ScaledImages, Smoothness, Transient
from xvar.core.methods.motion import deviation
from xvar.core.models.advection import Advection
from xvar.core.observation import Component, Observation
from xvar.core.problem import Problem, frame_steps
from xvar.errors import InputError
from xvar.plan.configuration import ECHOES

EVALUATIONS = 300  # of the reference
SIDES = (64, 128, 256, 512, 1024)
BATCH = 32

Row = dict[str, Any]


@dataclass(frozen=True)
class Times:
    """Least wall time of two calls that took turns, in seconds."""

    ours: float
    theirs: float


def alternating(ours: Callable[[], float], theirs: Callable[[], float], turns: int = 3) -> Times:
    """Let two measurements take turns, so that both see the same machine; each gives its seconds."""
    pairs = [(ours(), theirs()) for _ in range(turns)]
    return Times(*(min(side) for side in zip(*pairs, strict=True)))


def wall(call: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of a call."""
    begin = clock()
    call()
    return clock() - begin


def row(what: str, ours: str, theirs: str, ratio: float | str) -> Row:
    """A line of the table."""
    return {"what": what, "xvar": ours, "beside": theirs, "ratio": ratio}


def brest() -> xr.Dataset:
    """The first window of the paper's storm."""
    return xvar.datasets.sample()[["rain"]].isel(time=slice(0, 4))


def window_against_reference() -> Row:
    """Defaults on the Brest storm against the reference formulation."""
    storm = brest()
    window = reference.rain_window(storm["rain"].values)
    storm.var4d.assimilate()
    times = alternating(
        lambda: min(wall(storm.var4d.assimilate) for _ in range(5)),
        lambda: window.minimise(40).milliseconds * EVALUATIONS / 1e3,
    )
    return row(
        "a window of the Brest storm, defaults, against the reference formulation (300 evaluations)",
        f"{times.ours:.3f} s",
        f"{times.theirs:.1f} s",
        times.theirs / times.ours,
    )


def weak_against_reference() -> Row:
    """The weak constraint on temperatures, 240x240, against the reference formulation."""
    frames = reference.sst_frames()
    size = frames.shape[1]
    days = np.datetime64("2016-01-01", "ns") + np.arange(len(frames)) * np.timedelta64(1, "D")
    axes = {
        name: (
            name,
            np.arange(size) * reference.SST.spacing,
            {"standard_name": f"projection_{name}_coordinate", "units": "m"},
        )
        for name in ("y", "x")
    }
    attributes = {"standard_name": "sea_surface_temperature", "units": "degree_Celsius"}
    record = xr.Dataset({"sst": (("time", "y", "x"), frames.astype("f4"), attributes)}, {"time": days, **axes})
    window = reference.sst_window(frames)
    record.var4d.assimilate(constraint="weak")
    times = alternating(
        lambda: min(wall(lambda: record.var4d.assimilate(constraint="weak")) for _ in range(2)),
        lambda: window.minimise(15).milliseconds * EVALUATIONS / 1e3,
        turns=2,
    )
    return row(
        "a window of temperatures, 240x240, weak constraint, against the reference formulation (300 evaluations)",
        f"{times.ours:.3f} s",
        f"{times.theirs:.1f} s",
        times.theirs / times.ours,
    )


def papers_problem(window: reference.Window) -> Problem:
    """The paper's rain case in the terms of `xvar.core`."""
    frames, settings = window.frames, window.settings
    shape = tuple(frames.shape[1:])
    frame = settings.steps * settings.seconds
    observations = tuple(
        Observation(
            time=frame * index,
            operator=Component("tracer"),
            values=frames[index][None, None],
            std=weights.rsqrt()[None, None],
            replaces="tracer",
        )
        for index, weights in enumerate(window.weights, start=1)
    )
    tracer = frames[:1, None]
    return Problem(
        grid=Grid(shape, (settings.spacing,) * 2),
        dynamics=Advection("inertial", "arrival", velocity_edges="zero", tracer_edges="free"),
        steps=frame_steps([frame * index for index in range(len(frames))], settings.seconds),
        background={"velocity": tracer.new_zeros(1, 2, *shape), "tracer": tracer},
        background_error={
            "velocity": Tikhonov(gradient=settings.gradient, divergence=settings.divergence, edges="appended_zero"),
            "tracer": Diagonal(settings.tracer**-0.5),
        },
        observations=observations,
    )


def evaluation_against_reference() -> Row:
    """J and its gradient in the paper's case, without any minimiser."""
    window = reference.rain_window(brest()["rain"].values)
    cost = Cost(papers_problem(window))
    control = cost.zero()
    costs = float(cost.gradient(control)[0]), window.evaluate().item()
    if not np.isclose(*costs, rtol=1e-6):
        raise AssertionError(f"not the same problem: J at the background is {costs[0]:.8g} and {costs[1]:.8g}")
    times = alternating(
        lambda: min(wall(lambda: cost.gradient(control)) for _ in range(20)),
        lambda: min(wall(window.evaluate) for _ in range(5)),
    )
    return row(
        "an evaluation of J and its gradient, the paper's rain case, against the reference formulation",
        f"{1e3 * times.ours:.1f} ms",
        f"{1e3 * times.theirs:.1f} ms",
        times.theirs / times.ours,
    )


def evaluation_against_lower_bound() -> list[Row]:
    """J and its gradient of the last loop on rain against its fields read and written once: a copy of as many."""
    rows = []
    for side in (256, 1024):
        cost = transient_cost(side)
        control = torch.randn(1, cost.space.size, generator=torch.Generator().manual_seed(0))
        # Read: the steady motion, the last image and the one before, and the control; written: its gradient.
        inputs = sum(part[0].numel() for part in cost.problem.background.values()) + side**2 + cost.space.size
        half = torch.ones((inputs + cost.space.size) // 2)
        target = torch.empty_like(half)
        cost.gradient(control)
        times = alternating(
            lambda c=cost, v=control: min(wall(lambda: c.gradient(v), time.process_time) for _ in range(10)),  # type: ignore[misc]
            lambda a=half, b=target: min(wall(lambda: b.copy_(a), time.process_time) for _ in range(10)),  # type: ignore[misc]
        )
        rows.append(
            row(
                f"an evaluation of J and its gradient, last loop on rain, {side}x{side}, over its lower bound: "
                "a copy of the fields that it reads and writes, CPU time",
                f"{1e3 * times.ours:.1f} ms",
                f"{1e3 * times.theirs:.2f} ms",
                times.ours / times.theirs,
            )
        )
    return rows


def transient_cost(side: int) -> Cost:
    """J of the last loop of a window of moving rain."""
    frames = torch.tensor(moving_rain(side)["rain"].values)[None]
    numbers = dict(ECHOES)
    smoothness = Smoothness(numbers.pop("gradient"), numbers.pop("curvature"))
    transient = Transient(smoothness=smoothness, **numbers)  # type: ignore[arg-type]
    images = frames.sqrt()
    grid, frame = Grid((side, side), (1e3, 1e3)), 300.0
    seconds = [index * frame for index in range(4)]
    steady = torch.tensor([10.0, 20 / 3]).view(1, 2, 1, 1).expand(1, 2, side, side).contiguous()
    motion = ImageMotion(transform="square_root", transient=transient)
    scaled = ScaledImages(images / deviation(images), seconds, frame, grid, motion.error)
    return Cost(motion.transient_problem(scaled, steady, transient))


def batch_against_singles() -> Row:
    """A batch of windows of 128x128 against as many calls, CPU time; every bit is compared."""
    event = nowcast.Event.load("knmi-20100826")
    stride = 2
    middle = slice(64, 192)
    record = event.record[[event.variable]].isel(time=slice(0, stride * (BATCH - 1) + 4), y=middle, x=middle)
    singles = [record.isel(time=slice(stride * k, stride * k + 4)) for k in range(BATCH)]

    def together() -> xr.Dataset:
        return record.var4d.assimilate(window=4, stride=stride)

    whole, alone = together(), [single.var4d.assimilate() for single in singles]
    same = all(
        whole.isel(window=[k])[name].variable.identical(one[name].variable)
        for k, one in enumerate(alone)
        for name in one.data_vars
        if "window" in one[name].dims
    )
    times = alternating(
        lambda: wall(together, time.process_time),
        lambda: wall(lambda: [single.var4d.assimilate() for single in singles], time.process_time),
    )
    return row(
        f"{BATCH} windows of 128x128 in a batch against {BATCH} calls, CPU time; "
        + ("the same bits" if same else "OTHER BITS"),
        f"{times.ours:.2f} s",
        f"{times.theirs:.2f} s",
        times.theirs / times.ours,
    )


def radar_against_lucas_kanade() -> Row:
    """A radar window of 256x256 against the optical flow of pysteps."""
    event = nowcast.Event.load("fmi-20160928")
    window = event.window(0)
    frames = nowcast.frames_of(window, event)

    def flow() -> Any:
        return nowcast.pysteps_flow("LK", 4, frames)

    flow(), window.var4d.assimilate()
    times = alternating(
        lambda: min(wall(window.var4d.assimilate) for _ in range(3)), lambda: min(wall(flow) for _ in range(3)), turns=5
    )
    return row(
        "a radar window of 256x256, defaults, against Lucas-Kanade of pysteps",
        f"{times.ours:.3f} s",
        f"{times.theirs:.3f} s",
        times.theirs / times.ours,
    )


def scaling() -> list[Row]:
    """The same kind of rain on ever larger grids: how time and evaluations grow."""
    seconds, evaluations = [], []
    for side in SIDES:
        record = moving_rain(side)
        results: list[xr.Dataset] = []

        # CPU time: other programs may take turns with the smallest grid and not with the largest.
        def once(record: xr.Dataset = record, results: list[xr.Dataset] = results) -> None:
            results.append(record.var4d.assimilate())

        seconds.append(min(wall(once, time.process_time) for _ in range(3)))
        evaluations.append(int(results[0]["evaluations"][0]))
    pixels = np.log(np.square(SIDES))
    exponent = float(np.polyfit(pixels, np.log(seconds), 1)[0])
    largest = float(np.diff(np.log(seconds))[-1] / np.diff(pixels)[-1])
    label = f"{SIDES[0]}² to {SIDES[-1]}²"
    return [
        row(f"exponent of the CPU time in the number of pixels, {label} (last step alone {largest:.2f})",
            ", ".join(f"{s:.2f}" for s in seconds) + " s", "", exponent),
        row(f"evaluations on the grid of all levels, {label}: most over least",
            ", ".join(map(str, evaluations)), "", max(evaluations) / min(evaluations)),
    ]  # fmt: skip


def moving_rain(side: int) -> xr.Dataset:
    """Four frames of cells of rain of 8 pixels, alike on any grid, that move 3 pixels a frame and change a little."""
    random = np.random.default_rng(side)
    wavenumber = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)) * 2 * np.pi
    spectrum = np.exp(-0.5 * (4 * wavenumber) ** 2)
    first, second = (np.fft.irfft2(np.fft.rfft2(random.normal(size=(side, side))) * spectrum) for _ in range(2))
    frames = []
    for frame in range(4):
        field = first + 0.15 * frame * second
        moved = np.roll(field / field.std(), (2 * frame, 3 * frame), (0, 1))
        frames.append(5 * np.maximum(moved - 0.5, 0) ** 2)
    times = np.datetime64("2020-01-01", "ns") + np.arange(4) * np.timedelta64(5, "m")
    axes = {
        name: (name, np.arange(side) * 1e3, {"standard_name": f"projection_{name}_coordinate", "units": "m"})
        for name in ("y", "x")
    }
    rain = (("time", "y", "x"), np.stack(frames).astype("f4"), {"standard_name": "rainfall_rate", "units": "mm h-1"})
    return xr.Dataset({"rain": rain}, {"time": times, **axes})


# ---- measured in a process of their own

MEMORY = """
import gc, resource, torch, xvar.datasets
torch.set_num_threads(1)
storm = xvar.datasets.sample()[["rain"]].isel(time=slice(0, 4))
storm.isel(y=slice(0, 16), x=slice(0, 16)).var4d.assimilate()  # what is imported on the way
gc.collect()

def now(key):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(key))

with open("/proc/self/clear_refs", "w") as peak:
    peak.write("5")
before = now("VmRSS")
storm.var4d.assimilate()
print((now("VmHWM") - before) / 1024)
"""

IMPORT = """
import time, xarray
begin = time.perf_counter()
import xvar
print(time.perf_counter() - begin)
"""


def in_subprocess(code: str) -> float:
    """The number that a program prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def memory() -> Row:
    """Peak of the resident memory in a window of Brest, above that before it."""
    peak = min(in_subprocess(MEMORY) for _ in range(3))
    return row("memory of a window of the Brest storm above what the imports take", f"{peak:.0f} MiB", "", "")


def import_time() -> Row:
    """`import xvar` after `import xarray`."""
    seconds = min(in_subprocess(IMPORT) for _ in range(5))
    return row("import xvar beyond xarray", f"{seconds:.3f} s", "", "")


MEASUREMENTS: Sequence[Callable[[], Row | list[Row]]] = (
    window_against_reference,
    evaluation_against_reference,
    evaluation_against_lower_bound,
    weak_against_reference,
    radar_against_lucas_kanade,
    batch_against_singles,
    scaling,
    memory,
    import_time,
)


def measure() -> list[Row]:
    """All rows; one whose radar data are not there, or that xvar does not offer, says so."""
    torch.set_num_threads(1)
    rows: list[Row] = []
    for measurement in MEASUREMENTS:
        print(measurement.__name__, file=sys.stderr)
        try:
            found = measurement()
        except (FileNotFoundError, InputError) as error:
            why = "no data" if isinstance(error, FileNotFoundError) else "not offered"
            found = row((measurement.__doc__ or "").strip().rstrip("."), why, "", "")
        rows.extend(found if isinstance(found, list) else [found])
    return rows


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    lines = ["| measured side by side, one thread | xvar | beside | ratio |", "|---|---|---|---|"]
    for line in rows:
        ratio = line["ratio"] if isinstance(line["ratio"], str) else f"{line['ratio']:.3g}"
        lines.append(f"| {line['what']} | {line['xvar']} | {line['beside']} | {ratio} |")
    return "\n".join(lines)
