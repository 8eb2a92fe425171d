"""Operators that torch cannot differentiate by itself, such as ASTRA's: their gradient is their adjoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cscopt import LinearOperator
from cscopt.backend import is_torch, to_numpy

Map = Callable[[Any], Any]


class Differentiable(LinearOperator):
    r"""An operator A on NumPy arrays, as one on tensors through which gradients flow: Aᴴ takes back those of A x.

    Tensors of any device are copied to the CPU, and what A makes of them back. Other arrays A sees as they are.

    Parameters
    ----------
    operator : LinearOperator
        A, such as `cscopt.operators.CT`, or of `cscopt.from_scipy`.
    """

    def __init__(self, operator: LinearOperator) -> None:
        if not isinstance(operator, LinearOperator):
            raise TypeError(f"operator must be a LinearOperator; got {type(operator).__name__}")
        super().__init__(operator.input_shape, operator.output_shape)
        self.operator = operator

    @property
    def norm(self) -> float | None:
        """That of A."""
        return self.operator.norm

    def apply(self, x: Any) -> Any:
        """A x."""
        return _run(x, self.operator.apply, self.operator.adjoint)

    def adjoint(self, y: Any) -> Any:
        """Aᴴ y."""
        return _run(y, self.operator.adjoint, self.operator.apply)

    def take(self, items: Any) -> Differentiable:
        """That of A's items."""
        return Differentiable(self.operator.take(items))


def _run(x: Any, ahead: Map, back: Map) -> Any:
    return _Linear.apply(x, ahead, back) if is_torch(x) else ahead(x)


class _Linear(torch.autograd.Function):
    """x ↦ A x. The gradient of a real loss at x is Aᴴ times that at A x, and so on for its own gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ahead: Map, back: Map) -> Tensor:
        ctx.ahead, ctx.back, ctx.real = ahead, back, not x.is_complex()
        return torch.tensor(to_numpy(ahead(to_numpy(x))), device=x.device)  # a copy, should A give back what it got

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        found = _Linear.apply(gradients[0], ctx.back, ctx.ahead)
        return found.real if ctx.real and found.is_complex() else found, None, None
