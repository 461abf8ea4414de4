"""The misfit along paths and its adjoint as one compiled loop, by numba.

The loop goes through the points in parts of `LENGTH`, so that what it needs of a part stays in a near cache, and
through each part in short loops over arrays, which the compiler turns into vector instructions. Positions, motions and
gradients by them hold both components side by side (x, y, x, y, ...); what is read from or added to the corners of a
cell is a vector too, see `pairs`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from xvar.core.paths.comparisons import Comparisons, Evaluation, Fields
from xvar.core.paths.pairs import FAST, interpolate_pair, spread_pair

#: Points that are followed together.
LENGTH = 512
OPTIONS: dict[str, Any] = {"fastmath": set(FAST), "error_model": "numpy", "nogil": True}
#: Compile a part of `misfit` into it. With code beside that of `misfit`, a process that compiles would call it, one
#: that loads `misfit` from the cache would not, and their last bits would differ.
inlined = njit(forceinline=True, **OPTIONS)


def cached(function: Callable[..., Any]) -> Any:
    """Compile a function, and keep the result for later processes where a folder can be written."""
    try:
        return njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # neither beside the package nor in the user's cache
        return njit(**OPTIONS)(function)


@inlined
def locate(position, rows, columns, corner, weights, count):
    """Find the cell of each position: its first corner, the weights of the far sides, and zero slopes beyond edges.

    A position that is not finite is at the first corner, with weights that are not finite.
    """
    one = weights.dtype.type(1)
    zero = weights.dtype.type(0)
    last_x = weights.dtype.type(columns - 1)
    last_y = weights.dtype.type(rows - 1)
    along_x, along_y, slope_x, slope_y = weights[0], weights[1], weights[2], weights[3]
    for j in range(count):
        x, y = position[2 * j], position[2 * j + 1]
        near_x = x if x > zero else zero
        near_y = y if y > zero else zero
        near_x = near_x if near_x < last_x else last_x
        near_y = near_y if near_y < last_y else last_y
        column = min(np.int32(near_x), np.int32(columns - 2))
        row = min(np.int32(near_y), np.int32(rows - 2))
        along_x[j] = near_x - weights.dtype.type(column) + zero * x
        along_y[j] = near_y - weights.dtype.type(row) + zero * y
        slope_x[j] = one if (x > zero and x < last_x) else zero
        slope_y[j] = one if (y > zero and y < last_y) else zero
        corner[j] = row * np.int32(columns) + column


@inlined
def grid_points(origin, columns, position, count):
    """Set the positions of points of the grid in the order of memory."""
    begin = 0
    while begin < count:  # the part of each row
        row, column = (origin + begin) // columns, (origin + begin) % columns
        end = min(count, begin + columns - column)
        for j in range(begin, end):
            position[2 * j], position[2 * j + 1] = j + column - begin, row
        begin = end


@inlined
def interpolate(field, columns, corner, weights, values, slopes, count):
    """Interpolate a flat field between the corners of cells, with its slopes along x and y."""
    along_x, along_y = weights[0], weights[1]
    by_x, by_y = slopes[0], slopes[1]
    right, below = np.uint64(1), np.uint64(columns)
    for j in range(count):
        here = np.uint64(np.uint32(corner[j]))
        first, second = field[here], field[here + below]
        change = field[here + right] - first
        change_below = field[here + below + right] - second
        above = first + along_x[j] * change
        under = second + along_x[j] * change_below
        values[j] = above + along_y[j] * (under - above)
        by_x[j] = change + along_y[j] * (change_below - change)
        by_y[j] = under - above


@inlined
def interpolate_motion(field, rows, columns, position, drift, corner, weights, slopes, count):
    """Interpolate both components of a motion at positions, with their four slopes, see `interpolate_pair`."""
    locate(position, rows, columns, corner, weights, count)
    along_x, along_y = weights[0], weights[1]
    two, below = np.uint64(2), np.uint64(2 * columns)
    for j in range(count):
        here = two * np.uint64(np.uint32(corner[j]))
        interpolate_pair(field, here, below, along_x[j], along_y[j], drift, slopes, j)


@inlined
def spread(gradient, columns, corner, weights, by_drift, count):
    """Add the adjoint of `interpolate_motion` by the motion to a gradient.

    Every second point follows another, and its cell is seldom beside the one before: the processor need not wait for
    what it has just written.
    """
    along_x, along_y = weights[0], weights[1]
    two, below = np.uint64(2), np.uint64(2 * columns)
    for begin in range(2):
        for j in range(begin, count, 2):
            here = two * np.uint64(np.uint32(corner[j]))
            spread_pair(gradient, here, below, along_x[j], along_y[j], by_drift, j)


@inlined
def back(slopes, weights, gradient, result, count):
    """Set the gradient by a position from that by the motion interpolated there."""
    inside_x, inside_y = weights[2], weights[3]
    for j in range(count):
        by_u, by_v = gradient[2 * j], gradient[2 * j + 1]
        result[2 * j] = inside_x[j] * (slopes[4 * j] * by_u + slopes[4 * j + 1] * by_v)
        result[2 * j + 1] = inside_y[j] * (slopes[4 * j + 2] * by_u + slopes[4 * j + 3] * by_v)


@inlined
def add(values, factor, total, count):
    """Add a multiple of both components of `values`."""
    for j in range(2 * count):
        total[j] += factor * values[j]


@inlined
def scale_to(values, factor, result, count):
    """Set both components to a multiple of `values`."""
    for j in range(2 * count):
        result[j] = factor * values[j]


@inlined
def move(field, rows, columns, seconds, resample, position, drift, middle, corner, weights, slopes, count):
    """Move parcels through the middle of their path, which they reach with their drift or, to `resample`, a new one.

    The cells, weights and slopes of both interpolations are kept for `move_back`.
    """
    if resample:
        interpolate_motion(field, rows, columns, position, drift, corner[0], weights[0], slopes[0], count)
    scale_to(position, middle.dtype.type(1), middle, count)
    add(drift, middle.dtype.type(0.5) * seconds, middle, count)
    interpolate_motion(field, rows, columns, middle, drift, corner[1], weights[1], slopes[1], count)
    add(drift, seconds, position, count)


@inlined
def move_back(gradient, columns, seconds, resample, by_position, by_drift, work, corner, weights, slopes, count):
    """Apply the adjoint of `move`: to the gradients by position and drift, and to that by the motion."""
    add(by_position, seconds, by_drift, count)
    spread(gradient, columns, corner[1], weights[1], by_drift, count)
    back(slopes[1], weights[1], by_drift, work, count)
    add(work, work.dtype.type(1), by_position, count)
    scale_to(work, work.dtype.type(0.5) * seconds, by_drift, count)
    if resample:
        spread(gradient, columns, corner[0], weights[0], by_drift, count)
        back(slopes[0], weights[0], by_drift, work, count)
        add(work, work.dtype.type(1), by_position, count)
        scale_to(work, work.dtype.type(0), by_drift, count)


@inlined
def compare(image, mask, rows, columns, position, carried, slope, threshold, pull, work, place, weights, count):
    """Return the sum of the norms of residuals, without the square of the threshold.

    `slope` holds 1 / σ and becomes minus the gradient by the carried value, `pull` that by the position. An image
    without holes has an empty `mask`.
    """
    one = work.dtype.type(1)
    seen, known = work[:3], work[3:]
    locate(position, rows, columns, place, weights, count)
    interpolate(image, columns, place, weights, seen[0], seen[1:], count)
    if len(mask) > 0:
        interpolate(mask, columns, place, weights, known[0], known[1:], count)
        for row in range(3):
            values, share = seen[row], known[row]
            for j in range(count):
                values[j] -= share[j] * carried[j]
    else:
        for j in range(count):
            seen[0, j] -= carried[j]
    total = work.dtype.type(0)
    for j in range(count):
        residual = seen[0, j] * slope[j]
        squared = (residual / threshold) * (residual / threshold)
        root = math.sqrt(one + squared)
        total += squared / (root + one)
        slope[j] *= residual / root
    for j in range(count):
        pull[2 * j] = weights[2, j] * slope[j] * seen[1, j]
        pull[2 * j + 1] = weights[3, j] * slope[j] * seen[2, j]
    if len(mask) > 0:
        for j in range(count):
            slope[j] *= known[0, j]
    return total


@inlined
def in_cells(velocity, change, share, scale, begin, end, motion):
    """Set a motion of the points from `begin` to `end`, in cells per second."""
    u, v, q, r = velocity[0], velocity[1], change[0], change[1]
    if scale.shape[1] == 1:
        along_x, along_y = scale[0, 0], scale[1, 0]
        for i in range(begin, end):
            motion[2 * (i - begin)] = along_x * (u[i] + share * q[i])
            motion[2 * (i - begin) + 1] = along_y * (v[i] + share * r[i])
    else:
        for i in range(begin, end):
            motion[2 * (i - begin)] = scale[0, i] * (u[i] + share * q[i])
            motion[2 * (i - begin) + 1] = scale[1, i] * (v[i] + share * r[i])


@inlined
def add_in_metres(gradient, share, scale, begin, end, by_velocity, by_change):
    """Add the adjoint of `in_cells` to both components of those gradients that are wanted."""
    for total, factor in ((by_velocity, gradient.dtype.type(1)), (by_change, share)):
        if len(total) == 0:
            continue
        u, v = total[0], total[1]
        if scale.shape[1] == 1:
            along_x, along_y = factor * scale[0, 0], factor * scale[1, 0]
            for i in range(begin, end):
                u[i] += along_x * gradient[2 * (i - begin)]
                v[i] += along_y * gradient[2 * (i - begin) + 1]
        else:
            for i in range(begin, end):
                u[i] += factor * scale[0, i] * gradient[2 * (i - begin)]
                v[i] += factor * scale[1, i] * gradient[2 * (i - begin) + 1]


@cached
def misfit(
    velocity, change, scale, mean, begin, steps, reach, keeps_drift, rows, columns,
    images, masks, complete, first, later, source, elapsed, precision, pairs, threshold,
    by_velocity, by_change, by_first, by_source,
):  # fmt: skip
    """Return J of one window and add its gradients to zeros; see `Comparisons` for the arguments.

    Fields are flat. `change`, `masks`, `source` and gradients that are not wanted are empty; `precision` and `scale`
    have one point if they are the same everywhere.
    """
    moments, points = images.shape
    kind = images.dtype.type
    adjoint = len(by_velocity) > 0 or len(by_change) > 0
    motions = moments if len(change) > 0 else 1  # a steady motion is the same in all steps
    motion = np.empty((motions, 2 * points), images.dtype)
    gradient = np.zeros((motions if adjoint else 0, 2 * points), images.dtype)
    changing = change if len(change) > 0 else velocity
    for k in range(motions):
        in_cells(velocity, changing, mean[k] if len(change) > 0 else kind(0), scale, 0, points, motion[k])
    # Of each step of a part: the cells, weights and slopes of two interpolations, and the pull of the image after it.
    longest = min(reach, moments)
    corner, place = np.empty((longest, 2, LENGTH), np.int32), np.empty(LENGTH, np.int32)
    weights, slopes = np.empty((longest, 2, 4, LENGTH), images.dtype), np.empty((longest, 2, 4 * LENGTH), images.dtype)
    pull, share = np.empty((longest, 2 * LENGTH), images.dtype), np.empty((4, LENGTH), images.dtype)
    position, drift = np.empty(2 * LENGTH, images.dtype), np.empty(2 * LENGTH, images.dtype)
    by_position, by_drift = np.empty(2 * LENGTH, images.dtype), np.empty(2 * LENGTH, images.dtype)
    middle, work = np.empty(2 * LENGTH, images.dtype), np.empty((6, LENGTH), images.dtype)
    carried, slope = np.empty(LENGTH, images.dtype), np.empty(LENGTH, images.dtype)
    cost = 0.0
    for chain in range(len(begin)):
        values = first[0] if chain == 0 else later[chain - 1]
        final = min(chain + reach, moments)
        for origin in range(0, points, LENGTH):
            count = min(LENGTH, points - origin)
            grid_points(origin, columns, position, count)
            share_here = begin[chain] if len(change) > 0 else kind(0)
            in_cells(velocity, changing, share_here, scale, origin, origin + count, drift)
            for k in range(chain, final):
                n, resample = k - chain, k > chain and not keeps_drift
                move(motion[min(k, motions - 1)], rows, columns, steps[k], resample, position, drift, middle,
                     corner[n], weights[n], slopes[n], count)  # fmt: skip
                one = precision[pairs[chain, k]]
                for j in range(count):
                    carried[j], slope[j] = values[origin + j], one[origin + j if len(one) > 1 else 0]
                if len(source) > 0:
                    for j in range(count):
                        carried[j] += elapsed[chain, k] * source[0, origin + j]
                mask = masks[k] if len(masks) > 0 and not complete[k] else images[k, :0]
                cost += compare(images[k], mask, rows, columns, position, carried, slope, threshold, pull[n], work,
                                place, share, count)  # fmt: skip
                if chain == 0 and len(by_first) > 0:
                    for j in range(count):
                        by_first[0, origin + j] -= slope[j]
                if len(by_source) > 0:
                    for j in range(count):
                        by_source[0, origin + j] -= elapsed[chain, k] * slope[j]
            if not adjoint:
                continue
            scale_to(position, kind(0), by_position, count)
            scale_to(position, kind(0), by_drift, count)
            for k in range(final - 1, chain - 1, -1):
                n, resample = k - chain, k > chain and not keeps_drift
                add(pull[n], kind(1), by_position, count)
                move_back(gradient[min(k, motions - 1)], columns, steps[k], resample, by_position, by_drift, middle,
                          corner[n], weights[n], slopes[n], count)  # fmt: skip
            # A chain begins at grid points, with another share of the change than in a step.
            add_in_metres(by_drift, begin[chain], scale, origin, origin + count, by_velocity, by_change)
    for k in range(len(gradient)):
        add_in_metres(gradient[k], mean[k], scale, 0, points, by_velocity, by_change)
    return cost * threshold * threshold


def compiled(compared: Comparisons) -> Evaluation:
    """Return the function of the fields; see `Comparisons`, to which it does not refer: no cycle keeps its images."""
    images, later, precision = _flat(compared.images), _flat(compared.later), _flat(compared.precision)
    kind, absent = images.dtype.type, images[:, :0]
    masks = absent if compared.masks is None else _flat(compared.masks)
    complete = np.ones(masks.shape[:2], bool) if compared.complete is None else compared.complete.numpy()
    mean, begin, steps, elapsed = (
        np.array(part, kind) for part in (compared.mean, compared.begin, compared.steps, compared.elapsed)
    )
    scale, numbers, shape = _flat(compared.per_metre)[0], np.array(compared.pairs), compared.images.shape[-2:]
    reach, keeps_drift, threshold = compared.reach, compared.keeps_drift, kind(compared.threshold)

    def evaluate(fields: Fields, wanted: Sequence[bool]) -> tuple[Tensor, list[Tensor | None]]:
        velocity, change, first, source = (absent if field is None else _flat(field) for field in fields)
        pairs = zip(fields, wanted, strict=True)
        gradients = [field.new_zeros(field.shape) if wants and field is not None else None for field, wants in pairs]
        by_velocity, by_change, by_first, by_source = (absent if part is None else _flat(part) for part in gradients)
        cost = np.empty(len(velocity))
        for w in range(len(cost)):
            cost[w] = misfit(
                velocity[w], change[w], scale, mean, begin, steps, reach, keeps_drift, *shape,
                images[w], masks[w], complete[w], first[w], later[w], source[w], elapsed, precision[w], numbers,
                threshold, by_velocity[w], by_change[w], by_first[w], by_source[w],
            )  # fmt: skip
        return torch.from_numpy(cost.astype(kind)), gradients

    return evaluate


def _flat(field: Tensor) -> np.ndarray:
    """Return a field (window, component, y, x) with its points along one axis."""
    return field.detach().contiguous().flatten(2).numpy()
