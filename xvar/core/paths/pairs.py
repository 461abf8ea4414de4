"""Interpolation of both components of a motion in a cell, and its adjoint, by vectors of the processor.

The components lie side by side (u, v, u, v, ...): those of two neighbours in a row are one vector of four numbers. A
compiler does not see this, since it looks for vectors from one point to the next; the instructions are stated here.
After a change here touch `kernel.py`: numba keeps compiled code until the file of the compiled function changes.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

#: The order of sums may change and products may join sums; values that are not finite keep their meaning.
FAST = ("contract", "arcp", "nsz", "reassoc")


@intrinsic
def interpolate_pair(_typing, field, corner, below, x, y, values, slopes, j):
    """Set pair j of `values` to (u, v) at (x, y) in a cell, and the four numbers j of `slopes` to theirs along x and y.

    The cell begins at index `corner` of the field, and its second row `below` numbers later.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        field, corner, below, x, y, values, slopes, j = arguments
        at = partial(_pointer, context, builder, signature.args[0])
        near, far = (_load(builder, at(field, place, 4)) for place in (corner, builder.add(corner, below)))
        change = builder.fsub(far, near, flags=FAST)
        row = _add_product(builder, change, y, near)
        left, change_left = _pair(builder, row, 0), _pair(builder, change, 0)
        along_x = builder.fsub(_pair(builder, row, 2), left, flags=FAST)
        along_both = builder.fsub(_pair(builder, change, 2), change_left, flags=FAST)
        along_y = _add_product(builder, along_both, x, change_left)
        _store(builder, _add_product(builder, along_x, x, left), at(values, builder.mul(j, j.type(2)), 2))
        together = builder.shuffle_vector(along_x, along_y, _places(0, 1, 2, 3))
        _store(builder, together, at(slopes, builder.mul(j, j.type(4)), 4))
        return context.get_dummy_value()

    return types.void(field, corner, below, x, y, values, slopes, j), generate


@intrinsic
def spread_pair(_typing, gradient, corner, below, x, y, values, j):
    """Add pair j of `values` to the corners of a cell: the adjoint of `interpolate_pair`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        gradient, corner, below, x, y, values, j = arguments
        at = partial(_pointer, context, builder, signature.args[0])
        pair = _load(builder, at(values, builder.mul(j, j.type(2)), 2))
        right = builder.fmul(pair, _repeated(builder, x, 2), flags=FAST)
        whole = builder.shuffle_vector(builder.fsub(pair, right, flags=FAST), right, _places(0, 1, 2, 3))
        second = builder.fmul(whole, _repeated(builder, y, 4), flags=FAST)
        first = builder.fsub(whole, second, flags=FAST)
        for place, part in ((corner, first), (builder.add(corner, below), second)):
            pointer = at(gradient, place, 4)
            _store(builder, builder.fadd(_load(builder, pointer), part, flags=FAST), pointer)
        return context.get_dummy_value()

    return types.void(gradient, corner, below, x, y, values, j), generate


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any, size: int) -> Any:
    """Return the pointer to a vector of so many numbers of an array, from an index on."""
    data = context.make_array(array_type)(context, builder, array).data
    vector = ir.VectorType(context.get_data_type(array_type.dtype), size)
    return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())


def _load(builder: Any, pointer: Any) -> Any:
    return builder.load(pointer, align=4)  # pairs begin at any number


def _store(builder: Any, vector: Any, pointer: Any) -> None:
    builder.store(vector, pointer, align=4)


def _places(*places: int) -> Any:
    return ir.Constant(ir.VectorType(ir.IntType(32), len(places)), places)


def _pair(builder: Any, vector: Any, place: int) -> Any:
    """Return two numbers of a vector, from a place on."""
    return builder.shuffle_vector(vector, vector, _places(place, place + 1))


def _repeated(builder: Any, number: Any, size: int) -> Any:
    """Return a vector of one number."""
    vector = ir.Constant(ir.VectorType(number.type, size), ir.Undefined)
    first = builder.insert_element(vector, number, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, first, _places(*[0] * size))


def _add_product(builder: Any, vector: Any, factor: Any, summand: Any) -> Any:
    """Return a vector times a number plus another vector."""
    product = builder.fmul(vector, _repeated(builder, factor, vector.type.count), flags=FAST)
    return builder.fadd(product, summand, flags=FAST)
