"""Sweeps in stages, and what penalties compile for NumPy, against the array-API code that other libraries run."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import strict
from test_kernels import assert_same

from cscopt import ADMM, L0, L1, ConvDictionary, CSCProblem, ElasticNet, GradientL1, GroupL1, L1MinusL2, set_threads
from cscopt.backend import to_numpy
from cscopt.kernels import reference, staged
from cscopt.solvers.curved import quadratic_step

REALS = {"float32": 2e-4, "float64": 1e-11, "complex64": 2e-4, "complex128": 1e-11}
LABELS = np.array([5, 2, 2, 5, 7, 2, 0, 0])
MAP = np.linspace(0.2, 2.0, 8 * 33 * 40).reshape((8, 33, 40))
PENALTIES = {
    "groups of channels": GroupL1(0.3, 0.4),
    "labels, λ per map": GroupL1(np.linspace(0.1, 0.5, 8), 1.1, LABELS),
    "labels, λ map": GroupL1(MAP, 1.1, LABELS),
    "one group, λ = 0": GroupL1(0.0, 3.0, np.zeros(8, int)),
    "elastic": ElasticNet(0.3, 0.4),
    "elastic, λ map": ElasticNet(MAP, 0.4),
    "gradient": GradientL1(np.array([0.0, *np.linspace(0.1, 0.4, 7)]), 0.5),
    "L0": L0(0.2),
    "L1 − L2": L1MinusL2(0.2),
    "parts": L1(0.2, parts=True),
}


SERVED_BY_PLACE = ("groups of channels", "labels, λ per map", "one group, λ = 0", "elastic", "L0")
TYPED = [(n, t) for n in PENALTIES for t in REALS if n != "parts" or t.startswith("c")]
CASES = [(n, t, "circular") for n, t in TYPED] + [
    (n, "float64", b) for n in PENALTIES for b in ("none", "symmetric") if n in SERVED_BY_PLACE
]


def sized(rng, dtype, *shape):
    values = rng.standard_normal(shape)
    values = values + 1j * rng.standard_normal(shape) if dtype.startswith("c") else values
    values[:, :, ::3] = 0  # where a modulus is divided by
    return values.astype(dtype)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("name", "dtype", "boundary"), CASES, ids=str)
def test_staged_sweeps_equal_the_reference(rng, name, dtype, boundary, threads):
    penalty = PENALTIES[name]
    bank = ConvDictionary(rng.standard_normal((4, 1, 4, 3)).astype(sized(rng, dtype, 1, 1, 1).real.dtype))
    problem = CSCProblem(sized(rng, dtype, 2, 2, 33, 40), bank, penalty, boundary=boundary)
    levels, filters, rows = problem.levels, problem.system.filters, 4
    assert problem.kernels is staged
    x, z = (problem.embed(sized(rng, dtype, *problem.codes_shape)) for _ in range(2))
    image = problem.synthesis.spectrum(sized(rng, dtype, 2, 2, 33, 40))
    steps, betas = (np.array(a, problem.real) for a in ([0.1, 0.1, 0.3, 0.3], [0.5, 0.5, 0.0, 0.0]))
    set_threads(threads)
    try:
        for function, states, options in (
            ("ista_sweep", (x,), (steps,)),
            ("fista_sweep", (x, z), (steps, betas)),
            ("admm_sweep", (x,), (10 * steps, 1.7)),
        ):
            found = getattr(staged, function)(*[a.copy() for a in states], image, filters, levels, *options)
            wanted = getattr(reference, function)(*states, image, filters, levels, *options)
            assert_same(found, wanted, REALS[dtype])
            assert found[-1]["violation"].shape == (rows,)
    finally:
        set_threads(None)


@pytest.mark.parametrize(("name", "dtype"), [pair for pair in TYPED if pair[1] != "complex64"], ids=str)
def test_numpys_penalties_equal_the_array_apis(rng, name, dtype):
    """Proximal map with one step, one for each item, and one for each place; value."""
    library, codes = strict(), sized(rng, dtype, 2, 8, 33, 40)
    penalty, tol = PENALTIES[name].repeated(8, 1), REALS[dtype]
    real = codes.real.dtype
    steps = (0.7, np.array([0.7, 0.2], real).reshape((2, 1, 1, 1)), np.full((33, 1), 0.7, real), np.full(40, 0.7, real))
    for step in steps:
        if name == "L1 − L2" and np.size(step) > 2:
            continue
        other = step if isinstance(step, float) else library.asarray(step)
        found, wanted = penalty.prox(codes, step), to_numpy(penalty.prox(library.asarray(codes), other))
        assert found.dtype == codes.dtype
        np.testing.assert_allclose(found, wanted, rtol=tol, atol=tol)
    np.testing.assert_allclose(penalty.value(codes), to_numpy(penalty.value(library.asarray(codes))), rtol=tol)
    turned = np.asfortranarray(codes)
    np.testing.assert_array_equal(penalty.prox(turned), penalty.prox(codes))
    assert not np.isnan(penalty.prox(np.zeros_like(codes))).any()
    if name != "L1 − L2":
        np.testing.assert_allclose(penalty.prox(codes, 0.0), codes, rtol=4 * np.finfo(real).eps)


def test_codes_that_are_not_compiled_are_served_as_well():
    whole = np.array([[[3, -2]]])
    np.testing.assert_array_equal(L1(0.5).prox(whole), [[[2.5, -1.5]]])
    assert L1(0.5).value(whole) == 2.5
    np.testing.assert_array_equal(L1(1.0).prox(np.array([3.0])), [2.0])
    assert GroupL1(0.5, 1.0, np.array([1, 4])).value(np.ones((1, 2, 1), int)) == 3.0
    assert ElasticNet(0.3, np.float64(0.4)).prox(np.ones((1, 2, 3), np.float32)).dtype == np.float32


def test_labels_must_be_of_the_maps(rng):
    penalty, codes = GroupL1(0.3, 0.4, np.array([0, 0, 1])), rng.standard_normal((2, 8, 5, 4))
    for function in (penalty.prox, penalty.value):
        with pytest.raises(ValueError, match="groups must have one label for each of 8 maps; got 3"):
            function(codes)
    odd = GroupL1(0.3, 0.4, np.array([-1, 10**9, -1]))
    np.testing.assert_array_equal(odd.prox(codes[:, :3]), GroupL1(0.3, 0.4, np.array([0, 1, 0])).prox(codes[:, :3]))


def test_an_identity_as_a_proximal_map_is_not_written_to(rng):
    """A penalty of one's own may return its argument."""

    class Nothing(L0):
        def prox(self, v, step_size=1.0):
            return v

    problem = CSCProblem(rng.standard_normal((1, 1, 20, 21)), rng.standard_normal((3, 1, 4, 4)), Nothing(1.0))
    x, z = (problem.embed(rng.standard_normal(problem.codes_shape)) for _ in range(2))
    image, one = problem.synthesis.spectrum(rng.standard_normal((1, 1, 20, 21))), np.array([0.3])
    for function, states, options in (
        ("ista_sweep", (x,), (one,)),
        ("fista_sweep", (x, z), (one, one)),
        ("admm_sweep", (x,), (one, 1.7)),
    ):
        common = image, problem.system.filters, problem.levels
        found = getattr(staged, function)(*[a.copy() for a in states], *common, *options)
        assert_same(found, getattr(reference, function)(*states, *common, *options), 1e-11)


def test_balancing_keeps_the_codes_of_an_identity_as_a_proximal_map(rng):
    class Nothing(ElasticNet):
        def prox(self, v, step_size=1.0):
            return v

    problem = CSCProblem(rng.standard_normal((1, 1, 20, 21)), rng.standard_normal((3, 1, 4, 4)), Nothing(1.0, 1.0))
    solver, v = ADMM(rho=1.0), problem.embed(rng.standard_normal(problem.codes_shape))
    state = replace(solver.init(problem), v=v.copy(), primal=np.array([1.0]), dual_change=np.array([1e-3]))
    balanced = solver._balance(problem, state)
    assert balanced.rho != state.rho
    np.testing.assert_array_equal(balanced.v, v)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
def test_the_compiled_quadratic_step_equals_the_array_apis(rng, dtype):
    library = strict()
    filters = rng.standard_normal((4, 1, 4, 3)).astype(np.dtype(dtype).type(0).real.dtype)
    signal = sized(rng, dtype, 2, 2, 33, 40)
    penalty = GradientL1(0.3, 0.5)
    ours = CSCProblem(signal, filters, penalty)
    theirs = CSCProblem(library.asarray(signal), library.asarray(filters), penalty)
    z, s = ours.synthesis.filters.values, ours.synthesis.spectrum(signal)
    z = np.repeat(z[None, :, 0], 4, axis=0) * np.arange(1, 5)[:, None, None, None].astype(z.real.dtype)
    rho, sigma = (np.array(a, ours.real) for a in ([0.1, 0.1, 0.3, 0.3], [1.0, 1.0, 0.5, 0.5]))
    found = quadratic_step(ours, z, s, rho, sigma)
    wanted = quadratic_step(theirs, *(library.asarray(a) for a in (z, s, rho, sigma)))
    assert_same(found, [to_numpy(a) for a in wanted], REALS[dtype])
