"""Sums over short lines of pixels by vectors of 8, 4 and 2: compilers do not vectorise a loop of 8 turns by itself.

Arrays go by the address of their data, because passing an array from loop to loop counts its references, which costs
more than a line of pixels; whoever calls holds the array. `zero` and `one` are numbers that tell the types of the image
and of the filters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from cscopt.kernels.scalars import OPTIONS

_EIGHT, _FOUR, _TWO, _ONE = (0,) * 8, (0,) * 4, (0,) * 2, (0,)


def address_of(array: Any) -> Any:
    """Address of an array's data; 0 for None."""


def dot_lines(
    image: int, start: int, stride: int, count: int, filters: int, first: int, width: int, zero: Any, one: Any
) -> Any:
    """Σ_j Σ_b filters[first + j·width + b] · image[start + j·stride + b] over `count` lines of `width` pixels."""


def add_lines(
    image: int, start: int, stride: int, count: int, filters: int, first: int, width: int, value: Any, one: Any,
    weight: int, weighted: Any,
) -> None:  # fmt: skip
    """image[start + j·stride + b] += value · filters[first + j·width + b], times weight there if `weighted` is True."""


@overload(address_of, jit_options=OPTIONS, strict=False)
def _address_typed(array: Any) -> Any:
    if isinstance(array, types.NoneType):
        return lambda array: 0
    return lambda array: array.ctypes.data


@overload(dot_lines, jit_options=OPTIONS, strict=False)
def _dot_lines_typed(
    image: Any, start: Any, stride: Any, count: Any, filters: Any, first: Any, width: Any, zero: Any, one: Any
) -> Any:
    def vectors(
        image: Any, start: Any, stride: Any, count: Any, filters: Any, first: Any, width: Any, zero: Any, one: Any
    ) -> Any:
        total = zero
        b = 0
        while b + 8 <= width:
            total += _vector_dot(image, start + b, stride, count, filters, first + b, width, zero, _EIGHT)
            b += 8
        if b + 4 <= width:
            total += _vector_dot(image, start + b, stride, count, filters, first + b, width, zero, _FOUR)
            b += 4
        if b + 2 <= width:
            total += _vector_dot(image, start + b, stride, count, filters, first + b, width, zero, _TWO)
            b += 2
        if b < width:
            total += _vector_dot(image, start + b, stride, count, filters, first + b, width, zero, _ONE)
        return total

    def loops(
        image: Any, start: Any, stride: Any, count: Any, filters: Any, first: Any, width: Any, zero: Any, one: Any
    ) -> Any:
        total = zero
        for j in range(count):
            for b in range(width):
                total += at(filters, first + j * width + b, one) * at(image, start + j * stride + b, zero)
        return total

    return vectors if zero == one else loops


@overload(add_lines, jit_options=OPTIONS, strict=False)
def _add_lines_typed(
    image: Any, start: Any, stride: Any, count: Any, filters: Any, first: Any, width: Any, value: Any, one: Any,
    weight: Any, weighted: Any,
) -> Any:  # fmt: skip
    def vectors(
        image: Any, start: Any, stride: Any, count: Any, filters: Any, first: Any, width: Any, value: Any, one: Any,
        weight: Any, weighted: Any,
    ) -> None:  # fmt: skip
        b = 0
        while b + 8 <= width:
            _vector_add(image, start + b, stride, count, filters, first + b, width, value, _EIGHT)
            b += 8
        if b + 4 <= width:
            _vector_add(image, start + b, stride, count, filters, first + b, width, value, _FOUR)
            b += 4
        if b + 2 <= width:
            _vector_add(image, start + b, stride, count, filters, first + b, width, value, _TWO)
            b += 2
        if b < width:
            _vector_add(image, start + b, stride, count, filters, first + b, width, value, _ONE)

    def loops(
        image: Any, start: Any, stride: Any, count: Any, filters: Any, first: Any, width: Any, value: Any, one: Any,
        weight: Any, weighted: Any,
    ) -> None:  # fmt: skip
        for j in range(count):
            for b in range(width):
                add_at(
                    image,
                    start + j * stride + b,
                    value * at(filters, first + j * width + b, one),
                    weight,
                    one,
                    weighted,
                )

    return vectors if value == one and isinstance(weighted, types.NoneType) else loops


def add_at(image: int, index: int, value: Any, weight: int, one: Any, weighted: Any) -> None:
    """image[index] += value, times weight[index] if `weighted` is True."""


@overload(add_at, jit_options=OPTIONS, strict=False)
def _add_at_typed(image: Any, index: Any, value: Any, weight: Any, one: Any, weighted: Any) -> Any:
    if isinstance(weighted, types.NoneType):
        return lambda image, index, value, weight, one, weighted: _store(image, index, at(image, index, value) + value)
    return lambda image, index, value, weight, one, weighted: _store(
        image, index, at(image, index, value) + value * at(weight, index, one)
    )


@intrinsic
def at(context: Any, pointer: Any, index: Any, like: Any) -> Any:
    """Element `index` of data of the type of `like`."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_element(context, builder, arguments, signature.args[2]))

    return like(types.intp, types.intp, like), codegen


@intrinsic
def _store(context: Any, pointer: Any, index: Any, value: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], _element(context, builder, arguments, signature.args[2]))
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, value), codegen


@intrinsic
def _vector_dot(
    context: Any,
    image: Any,
    start: Any,
    stride: Any,
    count: Any,
    filters: Any,
    first: Any,
    width: Any,
    zero: Any,
    lanes: Any,
) -> Any:
    """`dot_lines` of as many pixels of each line as `lanes` has entries, in one vector."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        element = context.get_value_type(zero)
        vector, none = ir.VectorType(element, len(lanes)), ir.Constant(element, 0.0)
        total = cgutils.alloca_once_value(builder, ir.Constant(vector, [none] * len(lanes)))

        def line(pixels: Any, taps: Any) -> None:
            product = builder.fmul(builder.load(pixels, align=4), builder.load(taps, align=4), flags=["fast"])
            builder.store(builder.fadd(builder.load(total), product, flags=["fast"]), total)

        builder.store(ir.Constant(vector, [none] * len(lanes)), total)
        _each_line(context, builder, arguments, vector, line)
        name = f"llvm.vector.reduce.fadd.v{len(lanes)}{'f32' if element == ir.FloatType() else 'f64'}"
        reduce = cgutils.get_or_insert_function(builder.module, ir.FunctionType(element, [element, vector]), name)
        return builder.call(reduce, [none, builder.load(total)], fastmath=["fast"])

    return zero(*(types.intp,) * 7, zero, lanes), codegen


@intrinsic
def _vector_add(
    context: Any,
    image: Any,
    start: Any,
    stride: Any,
    count: Any,
    filters: Any,
    first: Any,
    width: Any,
    value: Any,
    lanes: Any,
) -> Any:
    """`add_lines` to as many pixels of each line as `lanes` has entries, in one vector."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(context.get_value_type(value), len(lanes))
        many = ir.Constant(vector, ir.Undefined)
        for b in range(len(lanes)):
            many = builder.insert_element(many, arguments[7], ir.Constant(ir.IntType(32), b))

        def line(pixels: Any, taps: Any) -> None:
            product = builder.fmul(many, builder.load(taps, align=4), flags=["fast"])
            builder.store(builder.fadd(builder.load(pixels, align=4), product, flags=["fast"]), pixels, align=4)

        _each_line(context, builder, arguments, vector, line)
        return context.get_dummy_value()

    return types.void(*(types.intp,) * 7, value, lanes), codegen


def _each_line(context: Any, builder: Any, arguments: Any, vector: Any, line: Callable[[Any, Any], None]) -> None:
    """A loop over the lines that gives `line` where each begins in the image and in the filters."""
    image, start, stride, count, filters, first, width = arguments[:7]
    data = vector.element.as_pointer()
    pixels, taps = (
        builder.gep(builder.inttoptr(address, data), [index]) for address, index in ((image, start), (filters, first))
    )
    with cgutils.for_range(builder, count, intp=context.get_value_type(types.intp)) as loop:
        line(
            builder.bitcast(builder.gep(pixels, [builder.mul(loop.index, stride)]), vector.as_pointer()),
            builder.bitcast(builder.gep(taps, [builder.mul(loop.index, width)]), vector.as_pointer()),
        )


def _element(context: Any, builder: Any, arguments: Any, kind: Any) -> Any:
    data = context.get_value_type(kind).as_pointer()
    return builder.gep(builder.inttoptr(arguments[0], data), [arguments[1]])
