"""K iterations of ISTA or FISTA as a torch module: cscopt's own step functions, with parameters that learn."""

from __future__ import annotations

import math
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cscopt import FISTA, L1, ConvDictionary, CSCProblem, L2Fit, LinearOperator, checks, solve
from cscopt.backend import is_complex, real_dtype, to_numpy
from cscopt.datafit import LeastSquares
from cscopt.kernels import FilterSpectrum
from cscopt.kernels.reference import analyze, fista_step, ista_step
from cscopt.solvers.descent import step_sizes, trusted
from cscopt.synthesis import Synthesis

Self = TypeVar("Self", bound="Unrolled")
State: TypeAlias = tuple[Tensor, ...]


class Unrolled(nn.Module):
    r"""What `UnrolledISTA` and `UnrolledFISTA` share: parameters, data term, truncation, checkpointing.

    Parameters
    ----------
    dictionary : ConvDictionary or array, (M, C, \*support)
        Initial filters d_m, a parameter (`filters`).
    iterations : int
        Iterations K that gradients pass through.
    step_size : float
        Initial step size s; 1/‖W A D‖² is the classical one (see `from_problem`).
    lam : float or array (M,)
        λ; the initial thresholds are s λ.
    nonnegative : bool, default False
        One-sided threshold: codes ≥ 0.
    operator : LinearOperator, optional
        A, from images (channel, \*space) to data.
    boundary : {"circular", "zero", "none"}
        See `cscopt.Synthesis`.
    real_codes : bool, optional
        Real codes of complex data; by default where they are non-negative.
    tied : bool, default True
        Whether the gradient correlates with the filters themselves; else with filters of their own
        (`encoder`), which start equal.
    shared : bool, default False
        One step size and one set of thresholds for all iterations.
    free_iterations : int, default 0
        Iterations T before those K, without gradient (truncated back-propagation), with the
        parameters of the first.
    checkpointing : bool, default False
        Keep the codes between iterations alone and compute the rest again in the backward pass.
    mask : Tensor or array, optional
        Weights W where `forward` is given none; a setting, which no `state_dict` has.

    Attributes
    ----------
    filters, encoder : Parameter
    log_step_sizes, log_thresholds : Parameter, (K, M)
        Logarithms, so that `step_sizes` and `thresholds` are positive whatever is learned.

    Notes
    -----
    The filters travel through the Fourier domain, which bfloat16 does not serve: under autocast, and
    with bfloat16 or float16 signals, everything here is float32.
    """

    def __init__(
        self,
        dictionary: ConvDictionary | Any,
        iterations: int,
        step_size: float,
        lam: Any,
        *,
        nonnegative: bool = False,
        operator: LinearOperator | None = None,
        boundary: str = "circular",
        real_codes: bool | None = None,
        tied: bool = True,
        shared: bool = False,
        free_iterations: int = 0,
        checkpointing: bool = False,
        mask: Any = None,
    ) -> None:
        super().__init__()
        self.register_buffer("mask", None if mask is None else _tensor(mask).clone(), persistent=False)
        if not isinstance(dictionary, ConvDictionary):
            dictionary = ConvDictionary(dictionary)
        self.iterations = checks.count(iterations, "iterations", 1)
        self.free_iterations = checks.count(free_iterations, "free_iterations")
        checks.positive_number(step_size, "step_size")
        checks.choice(boundary, "boundary", ("circular", "zero", "none"))
        if nonnegative and real_codes is False:
            raise ValueError("real_codes must not be False for non-negative codes")
        self.filters = nn.Parameter(_tensor(dictionary.filters).clone())
        self.encoder = None if tied else nn.Parameter(self.filters.detach().clone())
        self.nonnegative, self.operator, self.boundary = nonnegative, operator, boundary
        self.real_codes = nonnegative if real_codes is None else real_codes
        self.checkpointing, self.provenance = checkpointing, dict(dictionary.provenance)
        shape = (1 if shared else iterations, dictionary.n_filters)
        steps = torch.full(shape, float(step_size), dtype=self.filters.dtype)
        if hasattr(lam, "shape"):
            level, given = _tensor(lam).to(self.filters.dtype), f"an array of shape {tuple(lam.shape)}"
        else:
            level, given = steps.new_tensor(checks.real_number(lam, "lam")), repr(lam)
        fits = level.ndim == 0 or tuple(level.shape) == shape[1:]
        if not (fits and bool(((level > 0) & level.isfinite()).all())):
            raise ValueError(f"lam must be a positive number or ({shape[1]},) of them; got {given}")
        self.log_step_sizes = nn.Parameter(steps.log())
        self.log_thresholds = nn.Parameter((steps * level.to(steps)).log())

    @classmethod
    def from_problem(cls: type[Self], problem: CSCProblem, iterations: int, **options: Any) -> Self:
        """The module whose K iterations are those of `cscopt.solve`, for any signal of the problem's shape.

        Of least squares with an `L1` penalty, λ a number or one per filter; a mask W comes with it. The step size is
        exact, 1/‖W A D‖², where A's norm is known; else it is what backtracking comes to in the solver's first
        `iterations` on this problem.

        Raises
        ------
        TypeError
            If the penalty is another than `L1`, or the fit than least squares.
        ValueError
            If the items of the batch have different step sizes (masks W of their own), or λ is a map.
        """
        if type(problem.penalty) is not L1 or problem.penalty.parts or type(problem.fit) is not L2Fit:
            told = f"{type(problem.penalty).__name__} and {type(problem.fit).__name__}"
            raise TypeError(f"problem must be of L1 and least squares, which is what is unrolled; it is of {told}")
        lam, filters = problem.penalty.lam, problem.dictionary.n_filters
        if hasattr(lam, "shape") and tuple(lam.shape) == (problem.codes_shape[1],):
            lam = _one_channel(lam, filters)
        classical = {
            "nonnegative": problem.penalty.nonnegative,
            "operator": problem.forward,
            "boundary": problem.boundary,
            "real_codes": not is_complex(problem.code_like),
            "mask": None if problem.mask is None else problem.mask[:1],
        }
        steps = step_sizes(problem)
        sure = trusted(problem, steps)
        if problem.mask is not None and not bool((problem.mask == problem.mask[:1]).all()):
            raise ValueError("the items of the batch have different masks; make a module from one")
        if not sure:
            steps = solve(problem, FISTA(restart=False), tol=0, max_iter=iterations).state.steps
        steps = to_numpy(steps)
        if sure and steps.max() > steps.min() * (1 + 1e-6):
            raise ValueError("the items of the batch have different masks, and so step sizes; make a module from one")
        options = {"step_size": float(steps.min()), "lam": lam, **classical, **options}
        return cls(problem.dictionary, iterations, **options)

    @property
    def step_sizes(self) -> Tensor:
        """Step sizes s, (K, M)."""
        return self.log_step_sizes.exp()

    @property
    def thresholds(self) -> Tensor:
        """Thresholds t, (K, M)."""
        return self.log_thresholds.exp()

    def to_dictionary(self) -> ConvDictionary:
        """The filters as they are now, in NumPy; their provenance says what they started from."""
        started = self.provenance.get("name", "filters given")
        about = {"engine": f"learned.{type(self).__name__}", "started from": started}
        return ConvDictionary(to_numpy(_full(self.filters)).copy(), about)

    def forward(self, signal: Tensor, x0: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        r"""Codes (batch, maps, \*code space) after the iterations.

        Parameters
        ----------
        signal : Tensor, (batch, channel, \*space) or (batch, \*A.output_shape)
        x0 : Tensor, optional
            Codes to start from; zero if absent.
        mask : Tensor, optional
            Weights W that broadcast against the signal; the module's if absent.
        """
        mask = self.mask if mask is None else mask
        if not isinstance(signal, Tensor):
            raise TypeError(f"signal must be a torch tensor, as torch.as_tensor makes one; got {type(signal).__name__}")
        with torch.autocast(signal.device.type, enabled=False):
            signal = _full(signal)
            checks.floating(signal, "signal")
            checks.finite(signal, "signal")
            like = signal.real if self.real_codes and signal.is_complex() else signal
            space = tuple(signal.shape[1:]) if self.operator is None else self.operator.input_shape
            if self.operator is not None and tuple(signal.shape[1:]) != self.operator.output_shape:
                wanted = f"(batch, *{self.operator.output_shape})"
                raise ValueError(f"signal must be {wanted}, as the operator gives; got {tuple(signal.shape)}")
            if len(space) != self.filters.ndim - 1:
                raise ValueError(f"signal must be (batch, channel, *space); got {tuple(signal.shape)}")
            synthesis, encoder = (
                Synthesis(_full(f), tuple(space[1:]), self.boundary, space[0], like) for f in self._filter_pair()
            )
            if mask is not None:
                mask = mask.to(real_dtype(signal))
            term = LeastSquares(signal, synthesis, self.operator, mask)
            if x0 is None:
                x = like.new_zeros((signal.shape[0] * synthesis.groups, synthesis.n_filters, *synthesis.grid))
            else:
                wanted = (signal.shape[0], *synthesis.codes_shape)
                if tuple(x0.shape) != wanted or (x0.is_complex() and not like.is_complex()):
                    kind = "complex" if like.is_complex() else "real"
                    raise ValueError(f"x0 must be {kind} codes {wanted}; got {x0.dtype} {tuple(x0.shape)}")
                x = synthesis.embed(x0.to(like.dtype))
            filters = term.through(encoder).filters
            state: State = self._start(x)
            with torch.no_grad():
                for k in range(self.free_iterations):
                    state = self._step(k, 0, term, filters, *state)
            for k in range(self.iterations):
                arguments = (self.free_iterations + k, k, term, filters, *state)
                if self.checkpointing and torch.is_grad_enabled():
                    state = checkpoint(self._step, *arguments, use_reentrant=False)
                else:
                    state = self._step(*arguments)
            return synthesis.crop(state[0])

    def synthesize(self, codes: Tensor) -> Tensor:
        r"""Σ_m d_m * x_m, (batch, channel, \*space), of codes with the filters as they are now; without A."""
        with torch.autocast(codes.device.type, enabled=False):
            codes = _full(codes)
            return Synthesis.of_codes(_full(self.filters), codes, self.boundary).apply(codes)

    def reconstruct(self, signal: Tensor, x0: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Synthesis of the codes of a signal."""
        return self.synthesize(self(signal, x0, mask))

    def extra_repr(self) -> str:
        return f"filters={tuple(self.filters.shape)}, iterations={self.iterations}, free={self.free_iterations}"

    def _filter_pair(self) -> tuple[Tensor, Tensor]:
        return self.filters, self.filters if self.encoder is None else self.encoder

    def _gradient(self, term: LeastSquares, encoder: FilterSpectrum, x: Tensor) -> Tensor:
        residual = term.residual(term.system.synthesize(x))
        return -analyze(term.ascent(residual), encoder)

    def _levels(self, k: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Step sizes and thresholds of an iteration, shaped for codes."""
        k = min(k, self.log_step_sizes.shape[0] - 1)
        shape = (1, -1) + (1,) * (like.ndim - 2)
        real = like.real.dtype if like.is_complex() else like.dtype
        return self.step_sizes[k].to(real).reshape(shape), self.thresholds[k].to(real).reshape(shape)

    def _inside(self, x: Tensor, synthesis: Synthesis) -> Tensor:
        """Zero outside the box where codes may be, for boundaries other than circular."""
        return x if synthesis.code_space == synthesis.grid else synthesis.embed(synthesis.crop(x))

    def _start(self, x: Tensor) -> State:
        raise TypeError(f"{type(self).__name__} does not define _start")

    def _step(self, count: int, k: int, term: LeastSquares, encoder: FilterSpectrum, *state: Tensor) -> State:
        raise TypeError(f"{type(self).__name__} does not define _step")


class UnrolledISTA(Unrolled):
    """x⁺ = S_t(x − s ∇f(x)) with s, t of each iteration and filter; options as in `Unrolled`.

    Source: Gregor and LeCun 2010 (LISTA); Sreter and Giryes 2018 (convolutional).
    """

    def _start(self, x: Tensor) -> State:
        return (x,)

    def _step(self, count: int, k: int, term: LeastSquares, encoder: FilterSpectrum, *state: Tensor) -> State:
        (x,) = state
        step, threshold = self._levels(k, x)
        new = ista_step(x, self._gradient(term, encoder, x), step, threshold, self.nonnegative)
        return (self._inside(new, term.synthesis),)


class UnrolledFISTA(Unrolled):
    """x⁺ = S_t(z − s ∇f(z)), z⁺ = x⁺ + β_k (x⁺ − x) with FISTA's β_k and no restart; options as in `Unrolled`.

    Source: Beck and Teboulle 2009, eq. 4.1 to 4.3.
    """

    def _start(self, x: Tensor) -> State:
        return x, x

    def _step(self, count: int, k: int, term: LeastSquares, encoder: FilterSpectrum, *state: Tensor) -> State:
        x, point = state
        step, threshold = self._levels(k, x)
        gradient = self._gradient(term, encoder, point)
        new, ahead = fista_step(x, point, gradient, step, threshold, _momentum(count), self.nonnegative)
        return self._inside(new, term.synthesis), self._inside(ahead, term.synthesis)


def _momentum(count: int) -> float:
    """(t − 1)/t⁺ of iteration `count`, where t = 1 at first and t⁺ = (1 + √(1 + 4t²))/2."""
    t = following = 1.0
    for _ in range(count + 1):
        t, following = following, (1 + math.sqrt(1 + 4 * following**2)) / 2
    return (t - 1) / following


def _one_channel(lam: Any, filters: int) -> Any:
    """λ per filter from λ per map, where all channels have the same."""
    rows = to_numpy(lam).reshape(-1, filters)
    if (rows != rows[0]).any():
        raise ValueError("lam must be one per filter, the same in all channels")
    return rows[0]


def _tensor(array: Any) -> Tensor:
    return array.detach() if isinstance(array, Tensor) else torch.from_numpy(to_numpy(array).copy())


def _full(tensor: Tensor) -> Tensor:
    """At least single precision."""
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor
