"""Proximal maps against brute-force minimisation, values, and what λ may be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cscopt
from cscopt import L1
from cscopt.backend import to_numpy


@pytest.fixture(autouse=True, scope="module")
def _compiled():
    """Compile once, so that Hypothesis does not time it."""
    for dtype in (float, complex):
        L1(1.0).prox(np.zeros((1, 1, 1), dtype))
    L1(1.0, nonnegative=True).prox(np.zeros((1, 1, 1)))


@given(v=st.floats(-3, 3), lam=st.floats(0.01, 2), step=st.floats(0.05, 3), nonnegative=st.booleans())
def test_prox_minimises(v, lam, step, nonnegative):
    """No point of a fine grid around is better than the proximal point."""
    penalty = L1(lam, nonnegative)
    point = float(penalty.prox(np.full((1, 1, 1), v), step)[0, 0, 0])
    candidates = np.concatenate([np.linspace(-4, 4, 4001), point + np.linspace(-1e-3, 1e-3, 201), [0.0]])
    if nonnegative:
        assert point >= 0
        candidates = candidates[candidates >= 0]

    def cost(x):
        return 0.5 * (x - v) ** 2 + step * lam * np.abs(x)

    assert cost(point) <= cost(candidates).min() + 1e-12


@given(re=st.floats(-2, 2), im=st.floats(-2, 2), lam=st.floats(0.01, 2))
def test_complex_prox_minimises(re, im, lam):
    v = complex(re, im)
    point = complex(L1(lam).prox(np.full((1, 1, 1), v))[0, 0, 0])
    radius, angle = np.meshgrid(np.linspace(0, 3, 301), np.linspace(0, 2 * np.pi, 181))
    grid = np.concatenate([(radius * np.exp(1j * angle)).ravel(), [v, 0, point * 1.001, point * 0.999]])

    def cost(x):
        return 0.5 * np.abs(x - v) ** 2 + lam * np.abs(x)

    assert cost(point) <= cost(grid).min() + 1e-12


def test_value_and_prox_in_every_namespace(space, rng):
    codes = space.random(rng, 2, 3, 4, 5)
    plain = to_numpy(codes)
    weights = rng.uniform(0.1, 1, (3, 4, 5))
    for lam, full in (
        (0.3, 0.3),
        (space.array(weights[:, 0, 0], space.real), weights[:, 0, 0][:, None, None]),
        (space.array(weights, space.real), weights),
    ):
        penalty = L1(lam)
        value = to_numpy(penalty.value(codes))
        np.testing.assert_allclose(value, (full * np.abs(plain)).sum((1, 2, 3)), rtol=space.rtol)
        shrunk = np.abs(to_numpy(penalty.prox(codes, 0.5)))
        np.testing.assert_allclose(shrunk, np.maximum(np.abs(plain) - 0.5 * full, 0), rtol=space.rtol, atol=1e-6)


def test_a_negative_code_has_infinite_value():
    assert L1(1.0, nonnegative=True).value(-np.ones((1, 1, 3)))[0] == np.inf


@pytest.mark.parametrize(
    ("lam", "message"),
    [
        (-0.1, "lam must be positive"),
        (0.0, "lam must be positive"),
        (float("nan"), "lam must be a number; got NaN"),
        (float("inf"), "lam must be positive and finite"),
        (np.array([0.1, -0.2]), "lam must be positive everywhere; its least entry is -0.2"),
        (np.array([0.1, np.nan]), "lam must be finite"),
        (np.array([0.1 + 1j]), "lam must be real"),
        (np.array([]), r"lam must not be empty; got shape \(0,\)"),
        (np.ones((3, 0, 4)), r"lam must not be empty; got shape \(3, 0, 4\)"),
        ("much", "lam must be a real number"),
        ("0.1", "lam must be a real number; got '0.1'"),
        (np.array("0.1"), "lam must be a real number"),
        (True, "lam must be a real number; got True"),
        ([0.1, 0.2], "lam must be a number or an array; got a list"),
    ],
)
def test_bad_lambda_is_refused(lam, message):
    with pytest.raises((ValueError, TypeError), match=message):
        L1(lam)


def test_lambda_of_another_shape_is_refused(rng):
    with pytest.raises(ValueError, match=r"lam must be a number, or of shape \(4,\).*got \(5,\)"):
        cscopt.CSCProblem(rng.standard_normal((1, 1, 8, 8)), rng.standard_normal((4, 1, 3, 3)), L1(np.full(5, 0.1)))
