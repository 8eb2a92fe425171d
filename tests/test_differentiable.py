"""Operators that torch cannot differentiate by itself: gradients by the adjoint, and CT on tensors."""

import numpy as np
import pytest

import cscopt
from cscopt import CSCProblem, FunctionOperator, dot_test, from_scipy, solve
from cscopt.operators import CT, fbp, transmission_noise, transmission_weights

torch = pytest.importorskip("torch")
from learned import Differentiable, UnrolledISTA  # noqa: E402


def tensor(rng, *shape, dtype=torch.float64):
    return torch.from_numpy(rng.standard_normal(shape)).to(dtype)


def scanner(projector=None):
    try:
        return CT((12, 15), (np.arange(20) + 0.5) * np.pi / 20, 21, 0.5, 0.6, projector)
    except ImportError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("kind", [float, complex])
def test_gradients_of_an_operator_on_numpy_arrays(rng, kind):
    """First and second derivatives by differences, of both directions."""
    matrix = rng.standard_normal((5, 6)) + (1j * rng.standard_normal((5, 6)) if kind is complex else 0)
    operator = Differentiable(from_scipy(matrix, (2, 3), (5,), 7.0))
    assert operator.norm == 7
    x, y = (torch.from_numpy(rng.standard_normal(s).astype(kind)).requires_grad_() for s in ((2, 2, 3), (2, 5)))
    for function, point in ((operator.apply, x), (operator.adjoint, y)):
        assert torch.autograd.gradcheck(function, point)
        assert torch.autograd.gradgradcheck(lambda p, f=function: (f(p).abs() ** 2).sum(), point)
    np.testing.assert_allclose(operator.apply(x.detach().numpy()), operator.apply(x).detach().numpy())


def test_a_real_image_of_complex_data_has_a_real_gradient(rng):
    matrix = rng.standard_normal((5, 6)) + 1j * rng.standard_normal((5, 6))
    x = tensor(rng, 1, 6).requires_grad_()
    assert torch.autograd.gradcheck(Differentiable(from_scipy(matrix, (6,), (5,))).apply, x)


def test_what_is_given_back_is_a_copy(rng):
    x = tensor(rng, 1, 4)
    Differentiable(FunctionOperator(lambda x: x, lambda y: y, (4,), (4,))).apply(x).zero_()
    assert (x != 0).all()
    with pytest.raises(TypeError, match="operator must be a LinearOperator; got int"):
        Differentiable(3)


@pytest.mark.parametrize("projector", ["linear", "strip"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ct_on_tensors(rng, projector, dtype):
    """As on NumPy arrays, and differentiable: the gradient of ⟨y, A x⟩ is Aᴴ y."""
    plain = scanner(projector)
    operator = Differentiable(plain)
    x, y = tensor(rng, 2, 1, 12, 15, dtype=dtype), tensor(rng, 2, 1, 20, 21, dtype=dtype)
    assert dot_test(plain, x, y) < 1e-6
    assert plain.apply(x).dtype == dtype
    np.testing.assert_array_equal(plain.apply(x).numpy(), plain.apply(x.numpy()))
    x.requires_grad_()
    torch.sum(y * operator.apply(x)).backward()
    torch.testing.assert_close(x.grad, plain.adjoint(y))
    with pytest.raises(TypeError, match=r"image must not need a gradient, unless the operator is in learned\.Diff"):
        plain.apply(x)
    with torch.no_grad():
        assert not plain.apply(x).requires_grad


def test_sinograms_of_torch_are_served_throughout(rng):
    operator = scanner()
    lines = operator.apply(np.full((1, 1, 12, 15), 0.1))
    for function in (
        lambda s: fbp(s, operator),
        lambda s: transmission_noise(s, 1e4, rng=3),
        transmission_weights,
        lambda s: cscopt.reconstruct_ct(s[0, 0], operator, lam=0.1, max_iter=3, method="ista").image,
    ):
        found = function(torch.from_numpy(lines))
        assert torch.is_tensor(found)
        np.testing.assert_allclose(found.numpy(), function(lines), rtol=1e-5, atol=1e-6)


def test_a_problem_is_solved_and_unrolled_through_ct(rng):
    filters, signal = tensor(rng, 3, 1, 3, 3), tensor(rng, 1, 1, 20, 21)
    problem = CSCProblem(signal, filters, 0.5, forward=Differentiable(scanner()))
    expected = solve(problem, "ista", tol=0, max_iter=4)
    module = UnrolledISTA.from_problem(problem, 4)
    codes = module(signal)
    assert float(problem.objective(codes.detach())[0]) == pytest.approx(expected.objective, rel=1e-3)
    codes.abs().sum().backward()
    assert float(module.filters.grad.abs().max()) > 0
