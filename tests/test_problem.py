"""Bad input: each case names the argument, what it was, and what is allowed."""

from dataclasses import replace

import numpy as np
import pytest

import cscopt
from cscopt import (
    L1,
    ConvDictionary,
    CSCProblem,
    ElasticNet,
    FunctionOperator,
    GroupL1,
    TotalVariation,
    certify,
    datasets,
    lowpass,
    solve,
)

SIGNAL = np.random.default_rng(0).standard_normal((1, 1, 12, 12))
FILTERS = np.random.default_rng(1).standard_normal((4, 1, 3, 3))


def with_entry(array, value):
    array = array.copy()
    array.flat[5] = value
    return array


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"signal": with_entry(SIGNAL, np.nan)}, "signal must be finite; it contains NaN"),
        ({"signal": with_entry(SIGNAL, np.inf)}, "signal must be finite; it contains infinity"),
        (
            {"signal": SIGNAL.astype(np.float16)},
            "signal must be float32, float64, complex64 or complex128; got float16",
        ),
        ({"signal": SIGNAL.tolist()}, "signal must be a plain array .*got list"),
        ({"signal": SIGNAL[0, 0]}, r"signal must be \(batch, channel, \*space\) with 2 spatial axes.*\(12, 12\)"),
        ({"signal": SIGNAL[:, :, :0]}, "not empty"),
        ({"signal": SIGNAL[:, :, :2]}, r"support must not be larger than the signal; got filters \(3, 3\)"),
        (
            {"signal": np.repeat(SIGNAL, 2, 1), "filters": np.repeat(FILTERS, 3, 1)},
            "filters have 3 channels, the signal 2",
        ),
        ({"filters": FILTERS[0, 0]}, r"filters must have the axes \(filter, channel, \*support\)"),
        (
            {"filters": FILTERS * np.array([1, 0, 1, 1]).reshape(4, 1, 1, 1)},
            "filters must not be zero.*filter 1 has",
        ),
        ({"filters": with_entry(FILTERS, np.nan)}, "filters must be finite"),
        ({"filters": FILTERS.astype(complex)}, "filters must be float32 or float64; got complex128"),
        ({"filters": FILTERS[:0]}, "filters must not be empty"),
        ({"boundary": "reflect"}, "boundary must be 'circular', 'zero', 'symmetric' or 'none'; got 'reflect'"),
        ({"mask": np.ones((12, 11))}, r"mask must broadcast against the signal \(1, 1, 12, 12\); got shape \(12, 11\)"),
        ({"mask": -np.ones((12, 12))}, "mask must not be negative"),
        ({"mask": np.zeros((12, 12))}, "mask must not be zero everywhere"),
        ({"mask": np.full((12, 12), np.nan)}, "mask must be finite"),
        ({"mask": np.ones((12, 12), complex)}, "mask must be real"),
        ({"mask": np.full((12, 12), "a")}, "mask must be real; got <U1"),
        ({"boundary": np.ones(2)}, "boundary must be 'circular', .*; got array"),
        ({"real_codes": "no"}, "real_codes must be True or False; got 'no'"),
        ({"penalty": -1.0}, "lam must be positive"),
        ({"penalty": 1e-60, "signal": SIGNAL.astype(np.float32)}, "lam must be positive and finite in float32"),
    ],
)
def test_bad_problems(changes, message):
    arguments = {"signal": SIGNAL, "dictionary": FILTERS, "penalty": 0.1, **changes}
    arguments["dictionary"] = arguments.pop("filters", arguments["dictionary"])
    with pytest.raises((ValueError, TypeError), match=message):
        CSCProblem(**arguments)


def test_forward_operators_that_do_not_fit():
    small = FunctionOperator(lambda x: x, lambda y: y, (1, 10, 10), (1, 10, 10))
    with pytest.raises(ValueError, match="signal must have the shape that forward gives"):
        CSCProblem(SIGNAL, FILTERS, 0.1, forward=small)
    wrong = FunctionOperator(lambda x: 2 * x, lambda y: y, (1, 12, 12), (1, 12, 12))
    with pytest.raises(ValueError, match=r"forward.adjoint must be the adjoint.*dot test"):
        CSCProblem(SIGNAL, FILTERS, 0.1, forward=wrong)
    text = FunctionOperator(lambda x: x, lambda y: y, (1, 12, 12), (1, 12, 12), "1")
    with pytest.raises(TypeError, match=r"forward.norm must be a number; got '1'"):
        CSCProblem(SIGNAL, FILTERS, 0.1, forward=text)
    for apply, adjoint, name in ((lambda x: [1.0], lambda y: y, "apply"), (lambda x: x, lambda y: None, "adjoint")):
        with pytest.raises(TypeError, match=f"forward.{name} must give an array; got"):
            CSCProblem(SIGNAL, FILTERS, 0.1, forward=FunctionOperator(apply, adjoint, (1, 12, 12), (1, 12, 12)))
    for stranger in (np.eye(144), type("Bare", (), {"apply": None, "adjoint": None})()):
        with pytest.raises(TypeError, match=r"forward must be a LinearOperator \(a subclass, a FunctionOperator"):
            CSCProblem(SIGNAL, FILTERS, 0.1, forward=stranger)
    good = FunctionOperator(lambda x: 2 * x, lambda y: 2 * y, (1, 12, 12), (1, 12, 12))
    assert solve(CSCProblem(SIGNAL, FILTERS, 0.1, forward=good), max_iter=3).solver.name == "admm"


def test_mixed_libraries_and_dtypes():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="arrays must all come from one array library"):
        CSCProblem(SIGNAL, torch.from_numpy(FILTERS), 0.1)
    problem = CSCProblem(torch.from_numpy(SIGNAL), FILTERS, L1(np.full(4, 0.1)))
    assert isinstance(solve(problem, max_iter=5).codes, torch.Tensor)
    with pytest.raises(TypeError, match="codes must be real"):
        problem.objective(torch.zeros(problem.codes_shape, dtype=torch.complex128))


def test_integers_become_float32_with_their_values():
    problem = CSCProblem((SIGNAL * 50).astype(np.int16), FILTERS, 1.0)
    assert problem.signal.dtype == np.float32
    np.testing.assert_array_equal(problem.signal, (SIGNAL * 50).astype(np.int16))


def test_filters_are_not_rescaled():
    bank = ConvDictionary(FILTERS)
    problem = CSCProblem(SIGNAL, bank, 0.1)
    np.testing.assert_array_equal(problem.dictionary.filters, FILTERS)
    np.testing.assert_allclose(bank.normalized().norms(), 1)


@pytest.mark.parametrize("method", ["working-set", "admm"])
@pytest.mark.parametrize("boundary", ["circular", "none"])
def test_what_is_done_to_the_arrays_later_is_not_done_to_the_problem(method, boundary):
    given = {"signal": SIGNAL.copy(), "dictionary": FILTERS.copy(), "mask": np.full(SIGNAL.shape, 0.7)}
    first = solve(CSCProblem(**given, penalty=0.1, boundary=boundary), method, tol=1e-6)
    problem = CSCProblem(**given, penalty=0.1, boundary=boundary)
    _ = problem.zero_violation
    for array in given.values():
        array *= 0.5
    found = solve(problem, method, tol=1e-6)
    np.testing.assert_array_equal(found.codes, first.codes)
    np.testing.assert_array_equal(found.reconstruction, first.reconstruction)
    np.testing.assert_array_equal(problem.objective(found.codes), first.problem.objective(first.codes))


@pytest.mark.parametrize("kind", ["f4", "f8", "c8", "i2"])
def test_any_byte_order_serves(kind):
    """FITS files are big-endian."""
    signal = (50 * SIGNAL).astype(kind)
    mask = np.ones((12, 12), ">f4")
    problem = CSCProblem(signal.astype(">" + kind), FILTERS.astype(">f8"), L1(1.0), mask=mask)
    assert problem.signal.dtype.isnative
    np.testing.assert_array_equal(problem.signal, signal)
    assert solve(problem, "fista", tol=0, max_iter=2).objective == pytest.approx(
        solve(CSCProblem(signal, FILTERS, 1.0), "fista", tol=0, max_iter=2).objective
    )


def test_another_penalty_and_other_codes():
    problem = CSCProblem(SIGNAL, FILTERS, 0.1)
    np.testing.assert_array_equal(
        solve(problem.with_penalty(0.5), "ista", tol=0, max_iter=3).codes,
        solve(CSCProblem(SIGNAL, FILTERS, 0.5), "ista", tol=0, max_iter=3).codes,
    )
    with pytest.raises(TypeError, match="lam must be a real number; got None"):
        problem.with_penalty(None)
    with pytest.raises(TypeError, match="codes must be an array; got NoneType"):
        problem.objective(None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solution": None}, "solution must be a Solution; got NoneType"),
        ({"max_iter": 1.5}, "max_iter must be an integer; got 1.5"),
        ({"max_iter": -1}, "max_iter must be at least 0; got -1"),
        ({"tol": 0}, "tol must be positive"),
    ],
)
def test_bad_debiasing(options, message):
    solution = solve(CSCProblem(SIGNAL, FILTERS, 0.5), max_iter=2)
    with pytest.raises((ValueError, TypeError), match=message):
        cscopt.debias(**{"solution": solution, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "newton"}, "method must be 'auto', 'ista', .*, 'primal-dual' or 'working-set'; got 'newton'"),
        ({"tol": -1}, "tol must be finite and not negative"),
        ({"tol": float("nan")}, "tol must be a number; got NaN"),
        ({"tol": "small"}, "tol must be a real number"),
        ({"max_iter": -1}, "max_iter must be at least 0"),
        ({"max_iter": 1.5}, "max_iter must be an integer"),
        ({"check_every": 0}, "check_every must be at least 1"),
        ({"x0": np.zeros((1, 4, 12, 11))}, r"codes must have shape \(1, 4, 12, 12\)"),
        ({"x0": np.full((1, 4, 12, 12), np.nan)}, "codes must be finite"),
        ({"state": 3}, "state must be a WorkingSetState"),
    ],
)
def test_bad_options(options, message):
    problem = CSCProblem(SIGNAL, FILTERS, 0.1)
    with pytest.raises((ValueError, TypeError), match=message):
        solve(problem, **options)


def test_state_of_another_problem():
    state = solve(CSCProblem(SIGNAL, FILTERS, 0.1), "fista", max_iter=2).state
    with pytest.raises(ValueError, match="state is of another problem: its x is float64"):
        solve(CSCProblem(SIGNAL[:, :, :10], FILTERS, 0.1), "fista", state=state)
    with pytest.raises(ValueError, match="x0 and state must not both be given"):
        solve(CSCProblem(SIGNAL, FILTERS, 0.1), "fista", state=state, x0=state.x)
    with pytest.raises(TypeError, match="problem must be a CSCProblem"):
        solve(SIGNAL)


@pytest.mark.parametrize("method", ["working-set", "fista", "ista", "admm"])
def test_states_know_what_norms_do_not_tell(rng, method):
    """Where norms and the largest correlation agree, too; its bounds would be wrong."""
    filters = ConvDictionary(np.abs(rng.standard_normal((4, 1, 3, 3)))).normalized().filters
    signal = rng.standard_normal((2, 1, 14, 12))
    state = solve(CSCProblem(signal, filters, 0.1), method, max_iter=3).state
    assert solve(CSCProblem(signal * (1 + 1e-9), filters, 0.1), method, max_iter=2, state=state).iterations <= 2
    for other in (
        CSCProblem(signal, filters, L1(0.1, nonnegative=True)),
        CSCProblem(-signal, filters, 0.1),
        CSCProblem(signal[::-1].copy(), filters, 0.1),
        CSCProblem(np.roll(signal, 5, -1), filters, 0.1),
        CSCProblem(signal, -filters, 0.1),
        CSCProblem(signal, filters[::-1].copy(), 0.1),
        CSCProblem(signal, filters, L1(np.array([0.1, 0.1, 0.1, 0.0999]))),
        CSCProblem(signal, filters, 0.1 * (1 - 3e-6)),
        CSCProblem(signal * (1 - 2e-6), filters, 0.1),
    ):
        with pytest.raises(ValueError, match="state is of another problem"):
            solve(other, method, state=state)


def test_the_one_liner(rng):
    image = rng.standard_normal((20, 18))
    bank = rng.standard_normal((4, 5, 5))
    solution = cscopt.code(image, bank, lam=0.5, tol=1e-5)
    same = solve(CSCProblem(image[None, None], bank[:, None], 0.5), tol=1e-5)
    np.testing.assert_array_equal(solution.codes, same.codes)
    assert solution.reconstruction.shape == (1, 1, 20, 18)
    colour = cscopt.code(rng.standard_normal((20, 18, 3)), bank, 0.5, channel_axis=-1, max_iter=5)
    assert colour.codes.shape == (1, 12, 20, 18)
    masked = cscopt.code(image, bank, 0.5, mask=np.ones((20, 18)), tol=1e-5)
    assert masked.objective == pytest.approx(solution.objective, rel=1e-4)
    assert cscopt.code(image.astype(np.uint8), "natural-8x8x32", 1.0, max_iter=2).codes.dtype == np.float32
    for arguments, message in (
        ((image[None], bank), "filters must be"),
        ((image, bank[0]), "filters must be"),
        ((image.tolist(), bank), "image must be an array"),
        ((image, "no-such-bank"), "there is no dictionary 'no-such-bank'"),
        ((image, 3), "filters must be an array"),
        ((image[0], "natural-8x8x32"), "image must have 2 spatial axes"),
    ):
        with pytest.raises((ValueError, TypeError, FileNotFoundError), match=message):
            cscopt.code(*arguments)
    for axis, message in (
        (2, "channel_axis must be an axis"),
        (-3, "channel_axis must be at least -2"),
        (1.5, "channel_axis must be an integer; got 1.5"),
        ("last", "channel_axis must be an integer; got 'last'"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            cscopt.code(image, bank, channel_axis=axis)
    with pytest.raises(TypeError, match="mask must be an array; got list"):
        cscopt.code(image, bank, mask=[1])


def test_too_large_for_memory(monkeypatch):
    """The sentence says how much is needed, how much is free, and what needs less."""
    from cscopt import FunctionOperator, checks

    def free(maps):
        monkeypatch.setattr(checks, "free_memory", lambda like: int(maps * 4 * 12 * 12 * 8))

    free(0.5)
    problem = CSCProblem(np.repeat(SIGNAL, 2, 0), FILTERS, 0.1)
    assert solve(problem, "working-set", max_iter=1).status == "max_iter"
    with pytest.raises(MemoryError, match=r"dense codes needs .* GiB are free; use sparse_codes"):
        solve(problem, "working-set", max_iter=1).codes  # noqa: B018
    free(5)
    with pytest.raises(MemoryError, match=r"fista on codes of \(2, 4, 12, 12\) needs .*'working-set' keeps no maps"):
        solve(problem, "fista")
    assert solve(problem, "ista", max_iter=1).status == "max_iter"
    mirror = FunctionOperator(lambda x: x[..., ::-1], lambda x: x[..., ::-1], (1, 12, 12), (1, 12, 12), 1.0)
    free(5)
    problem = CSCProblem(np.repeat(SIGNAL, 2, 0), FILTERS, 0.1, forward=mirror)
    with pytest.raises(MemoryError, match="'ista' needs"):
        solve(problem, "fista")
    free(0.1)
    with pytest.raises(MemoryError, match="in tiles"):
        solve(problem, "ista")
    with pytest.raises(MemoryError, match=r"transforming maps of 12×12 for 4 filters needs .*'working-set' needs no"):
        CSCProblem(SIGNAL, FILTERS, 0.1).gradient(np.zeros((1, 4, 12, 12)))


def test_what_print_shows():
    problem = CSCProblem(SIGNAL, FILTERS, L1(0.1), mask=np.ones((12, 12)))
    shown = f"signal (1, 1, 12, 12) float64, {problem.dictionary}, L1, boundary='circular', mask"
    assert repr(problem) == f"CSCProblem({shown})"


def test_mixed_devices():
    torch = pytest.importorskip("torch")
    mask = torch.ones((12, 12), dtype=torch.float64, device="meta")
    with pytest.raises(ValueError, match="arrays must be on one device; got meta and cpu"):
        CSCProblem(torch.from_numpy(SIGNAL), FILTERS, 0.1, mask=mask)


@pytest.mark.filterwarnings("error")
def test_numbers_out_of_range_of_float32():
    """Nothing that overflows or vanishes may end in a certificate."""
    single, filters = SIGNAL.astype(np.float32), FILTERS.astype(np.float32)
    for lam in (1e60, 1e-60, np.full((4, 12, 12), 1e-60), np.full(4, 1e60)):
        with pytest.raises(ValueError, match="lam must be positive and finite in float32"):
            CSCProblem(single, filters, L1(lam))
    for penalty in (GroupL1(1e60, 1.0), GroupL1(0.1, 1e60), ElasticNet(1e60, 1.0), L1(0.1) + TotalVariation(1e60)):
        with pytest.raises(ValueError, match="must be positive and finite in float32, the signal's precision"):
            CSCProblem(single, filters, penalty)
    for scale in (1e-25, 1e-22, 1e-20, 1e17, 1e25):
        with pytest.raises(ValueError, match=r"signal must not be so large or small .* range of float32: the peak"):
            CSCProblem(single * np.float32(scale), filters, 0.1)
    with pytest.raises(ValueError, match="filters must not be zero, nor so small or large"):
        CSCProblem(single, filters * np.float32(1e-22), 0.1)


@pytest.mark.parametrize("scale", [1e-18, 1e14])
@pytest.mark.parametrize("penalty", [L1(0.3), GroupL1(0.3, 0.2), ElasticNet(0.3, 0.1)], ids=lambda p: type(p).__name__)
def test_the_units_of_the_signal_do_not_matter(penalty, scale):
    """In float32, from the least to about the largest that are allowed."""
    bank = ConvDictionary(FILTERS.astype(np.float32)).normalized()
    levels = {name: getattr(penalty, name) * scale for name in ("lam", "mu") if hasattr(penalty, name)}
    if isinstance(penalty, ElasticNet):
        levels["mu"] = penalty.mu
    problems = [
        CSCProblem(SIGNAL.astype(np.float32), bank, penalty),
        CSCProblem((SIGNAL * scale).astype(np.float32), bank, replace(penalty, **levels)),
    ]
    for method in ("auto", "admm", "fista"):
        plain, scaled = (solve(problem, method, tol=1e-3, max_iter=2000) for problem in problems)
        assert (plain.status, scaled.status) == ("converged", "converged")
        assert scaled.objective / scale**2 == pytest.approx(plain.objective, rel=2e-3)
        gaps = [certify(problem, found.codes).gap[0] for problem, found in zip(problems, (plain, scaled), strict=True)]
        assert gaps[1] == pytest.approx(gaps[0], rel=0.1, abs=2e-4)


def test_a_nan_has_no_certificate():
    from cscopt.certificate import compare

    found = compare(np.array([np.nan, np.inf, 0.0, 2.0]), np.array([0.0, 0.0, 0.0, 1.0]))
    np.testing.assert_array_equal(found.gap, [np.inf, np.inf, 0, 0.5])


def test_infeasible_codes_have_an_infinite_objective():
    problem = CSCProblem(SIGNAL, FILTERS, L1(0.1, nonnegative=True))
    found = cscopt.certify(problem, -np.ones(problem.codes_shape))
    assert found.objective[0] == found.gap[0] == np.inf


def test_states_know_their_problem():
    for method in ("ista", "fista", "admm"):
        state = solve(CSCProblem(SIGNAL, FILTERS, 1.0), method, max_iter=30).state
        for other in (CSCProblem(SIGNAL, FILTERS, 0.1), CSCProblem(2 * SIGNAL, FILTERS, 1.0)):
            with pytest.raises(ValueError, match="state is of another problem"):
                solve(other, method, state=state)


def test_a_mask_that_empties_one_item():
    mask = np.ones((2, 1, 12, 12))
    mask[1] = 0
    with pytest.raises(ValueError, match=r"mask must not be zero everywhere \(in any item\)"):
        CSCProblem(np.repeat(SIGNAL, 2, 0), FILTERS, 0.1, mask=mask)
    with pytest.raises(TypeError, match="signal must be a plain array"):
        CSCProblem(np.ma.masked_array(SIGNAL, SIGNAL > 1), FILTERS, 0.1)


def _half(x):
    return np.where(np.arange(x.shape[-1]) < x.shape[-1] // 2, x, 0)


def _nearest(y):
    return np.repeat(np.repeat(y, 2, -1), 2, -2) / 4


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize(
    ("apply", "adjoint"),
    [
        (lambda x: x, lambda y: 0 * y),
        (lambda x: x, _half),
        (lambda x: x[..., ::2, ::2], _nearest),
        (lambda x: np.roll(x, 3, -1) + x, lambda y: np.roll(y, 3, -1) + y),
        (lambda x: x, lambda y: y + np.roll(y, 1, -1) - np.roll(y, -1, -1)),
    ],
    ids=["zero", "half", "nearest", "not flipped", "skew"],
)
def test_wrong_adjoints_are_refused_on_pictures(apply, adjoint, smooth):
    """Pictures are nearly orthogonal to much, so that ⟨A x, y⟩ is small whatever the adjoint is."""
    picture = datasets.picture("camera")[None, None, :128, :128]
    signal = apply(picture if smooth else lowpass.split(picture)[1])
    wrong = FunctionOperator(apply, adjoint, (1, 128, 128), signal.shape[1:])
    with pytest.raises(ValueError, match=r"forward.adjoint must be the adjoint"):
        CSCProblem(signal, FILTERS.astype(np.float32), 0.1, forward=wrong)


def test_what_is_not_linear_is_refused():
    affine = FunctionOperator(lambda x: x + 0.1, lambda y: y, (1, 12, 12), (1, 12, 12))
    with pytest.raises(ValueError, match="forward must be linear; what it makes of zero is not zero"):
        CSCProblem(SIGNAL, FILTERS, 0.1, forward=affine)


@pytest.mark.parametrize("scale", [1e-4, 1e-2, 1e2, 1e4])
@pytest.mark.parametrize("method", ["admm", "primal-dual", "fista", "working-set"])
def test_the_units_of_weights_do_not_matter(method, scale):
    """½‖(W/s)(s y − D x)‖² with λ/s is one problem for every s, and takes as many iterations."""
    rng = np.random.default_rng(0)
    weights = rng.uniform(0.5, 1.5, SIGNAL.shape)

    def found(s):
        problem = CSCProblem(SIGNAL * s, FILTERS, 0.5 / s, mask=weights / s)
        return solve(problem, method, tol=1e-3, max_iter=2000)

    one, other = found(1.0), found(scale)
    assert other.status == "converged"
    assert other.objective == pytest.approx(one.objective, rel=2e-3)
    assert abs(other.iterations - one.iterations) <= 10


@pytest.mark.parametrize("size", [1e-15, 1e-11, 1e10])
def test_small_and_large_weights_in_float32(size):
    rng = np.random.default_rng(0)
    weights = rng.uniform(0.5, 1.5, SIGNAL.shape)
    expected = solve(CSCProblem(SIGNAL, FILTERS, 0.5, mask=weights), "fista", tol=1e-5).objective
    signal, filters, weights = (a.astype(np.float32) for a in (SIGNAL, FILTERS, weights * size))
    found = solve(CSCProblem(signal, filters, 0.5 * size**2, mask=weights), "working-set", tol=1e-3)
    assert found.status == "converged"
    assert found.objective / size**2 == pytest.approx(expected, rel=2e-3)
    with pytest.raises(ValueError, match="mask must not be so large or small that its squares leave the range"):
        CSCProblem(signal, filters, 0.5, mask=weights / np.float32(size) * np.float32(1e-22))


@pytest.mark.parametrize("side", [12, 256])
def test_the_dot_test_sees_through_white_noise(side):
    signal = np.random.default_rng(3).standard_normal((1, 1, side, side))
    shape = (1, side, side)
    wrong = FunctionOperator(lambda x: x, lambda y: 1.1 * y, shape, shape, 1.0)
    with pytest.raises(ValueError, match=r"forward.adjoint must be the adjoint"):
        CSCProblem(signal, FILTERS, 0.1, forward=wrong)
    for norm in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match=r"forward.norm must be (positive and finite|a number)"):
            CSCProblem(signal, FILTERS, 0.1, forward=FunctionOperator(lambda x: x, lambda y: y, shape, shape, norm))
    for norm in (1.0, 2.9):
        triple = FunctionOperator(lambda x: 3 * x, lambda y: 3 * y, shape, shape, norm)
        with pytest.raises(ValueError, match=rf"forward.norm must be .* is at least 3; got {norm:g}"):
            CSCProblem(signal.astype(np.float32), FILTERS, 0.1, forward=triple)
    triple = FunctionOperator(lambda x: 3 * x, lambda y: 3 * y, shape, shape, 3 * (1 - 1e-6))
    CSCProblem(signal.astype(np.float32), FILTERS, 0.1, forward=triple)
    flat = FunctionOperator(lambda x: x.reshape(-1), lambda y: y, shape, shape, 1.0)
    with pytest.raises(ValueError, match=r"forward.apply must give \(1, \*"):
        CSCProblem(signal, FILTERS, 0.1, forward=flat)


def test_codes_that_do_not_fit_a_dictionary():
    bank = ConvDictionary(FILTERS)
    for codes, message in (
        (np.ones((2, 6, 8, 8)), "codes must be .* a multiple of 4 maps"),
        (np.ones((2, 4, 8)), "codes must be"),
        (np.ones((2, 4, 8, 8), int), "codes must be float32"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            bank.synthesize(codes)
    with pytest.raises(ValueError, match=r"codes must be \(batch"):
        bank.operator((8, 8)).apply(np.ones((1, 4, 8, 7)))
    with pytest.raises(ValueError, match=r"image must be \(batch"):
        bank.operator((8, 8)).adjoint(np.ones((1, 1, 8, 7)))


def test_one_lambda_per_filter_serves_all_channels():
    lam, signal = np.array([0.5, 0.6, 0.7, 0.8]), np.random.default_rng(5).standard_normal((1, 3, 12, 12))
    one = solve(CSCProblem(signal, FILTERS, L1(lam)), tol=1e-6)
    all_of_them = solve(CSCProblem(signal, FILTERS, L1(np.tile(lam, 3))), tol=1e-6)
    np.testing.assert_array_equal(one.codes, all_of_them.codes)


def test_a_mask_without_channel_axis(rng):
    image, bank = rng.standard_normal((24, 20, 3)), rng.standard_normal((4, 5, 5))
    mask = (rng.random((24, 20)) > 0.5).astype(float)
    plain = cscopt.code(image, bank, 2.0, channel_axis=-1, mask=mask)
    full = cscopt.code(image, bank, 2.0, channel_axis=-1, mask=np.repeat(mask[..., None], 3, -1))
    np.testing.assert_array_equal(plain.codes, full.codes)


def test_numbers_may_be_numpys_on_any_array():
    torch = pytest.importorskip("torch")
    signal, filters = torch.from_numpy(SIGNAL), torch.from_numpy(FILTERS)
    ours, numpys = (cscopt.solve(CSCProblem(signal, filters, lam), max_iter=20) for lam in (0.5, np.float64(0.5)))
    assert torch.equal(ours.codes, numpys.codes)
    assert cscopt.solve(CSCProblem(SIGNAL, FILTERS, np.float32(0.5)), max_iter=1).reason.startswith("few")
