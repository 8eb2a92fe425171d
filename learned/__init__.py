"""learned: cscopt's steps unrolled in torch, and convolutional-sparse-coding networks trained for a task."""

from learned.unroll import UnrolledFISTA, UnrolledISTA

__all__ = ["UnrolledFISTA", "UnrolledISTA"]
