"""Linear operators: the dot test, compositions, SciPy, and convolution against scipy.signal."""

import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

import cscopt
from cscopt import ConvDictionary, FunctionOperator, dot_test, from_scipy
from cscopt.backend import to_numpy
from cscopt.synthesis import BOUNDARIES


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_synthesis_and_analysis_are_adjoint(data):
    """Over odd sizes, 1 to 3 axes, non-square supports, one filter, several channels, all boundaries."""
    ndim = data.draw(st.integers(1, 3))
    top = {1: 40, 2: 14, 3: 7}[ndim]
    space = tuple(data.draw(st.integers(1, top)) for _ in range(ndim))
    support = tuple(data.draw(st.integers(1, min(n, 5))) for n in space)
    filters, channels, batch = (data.draw(st.integers(1, 4)) for _ in range(3))
    image_channels = data.draw(st.integers(1, 3)) if channels == 1 else channels
    boundary = data.draw(st.sampled_from(BOUNDARIES))
    dtype = data.draw(st.sampled_from(["float32", "float64", "complex64", "complex128"]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))

    def random(*shape):
        return (rng.standard_normal(shape) + (1j * rng.standard_normal(shape) if dtype[0] == "c" else 0)).astype(dtype)

    like = random(batch, image_channels, *space)
    bank = ConvDictionary(rng.standard_normal((filters, channels, *support)))
    operator = bank.operator(space, boundary, image_channels, like)
    codes = random(batch, *operator.codes_shape)
    tol = 1e-5 if dtype in ("float32", "complex64") else 1e-12
    assert dot_test(operator, codes, like) < tol
    assert operator.apply(codes).dtype == like.dtype
    image = operator.apply(codes)
    ratio = np.linalg.norm(image) / np.linalg.norm(codes)
    assert ratio <= operator.norm * (1 + 1e-5)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_an_operator_follows_the_arrays_it_meets(space, rng, boundary):
    """Of real NumPy filters it takes complex arrays and other libraries: kernels read beyond the end of those once."""
    operator = ConvDictionary(rng.standard_normal((3, 1, 4, 3))).operator((9, 8), boundary)
    codes, image = space.random(rng, 2, *operator.input_shape), space.random(rng, 2, 1, 9, 8)
    assert dot_test(operator, codes, image) < (1e-5 if space.real == "float32" else 1e-12)
    assert operator.apply(codes).dtype == codes.dtype
    assert operator.adjoint(image).dtype == image.dtype


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_any_byte_order_serves(rng, boundary):
    bank = ConvDictionary(rng.standard_normal((3, 1, 4, 3)))
    operator = bank.operator((9, 8), boundary)
    codes, image = rng.standard_normal((2, *operator.input_shape)), rng.standard_normal((2, 1, 9, 8))
    swapped = [array.astype(">f8") for array in (codes, image)]
    np.testing.assert_array_equal(bank.synthesize(swapped[0], boundary), bank.synthesize(codes, boundary))
    np.testing.assert_array_equal(operator.apply(swapped[0]), operator.apply(codes))
    np.testing.assert_array_equal(operator.adjoint(swapped[1]), operator.adjoint(image))
    assert dot_test(operator, *swapped) < 1e-12
    sparse = cscopt.SparseCodes(np.array([3]), np.array([2.0], ">f4"), (1, 3, 9, 8))
    assert sparse.values.dtype == np.float32


def test_dot_test_in_every_namespace(space, rng):
    bank = ConvDictionary(space.filters(rng, 3, 2, 3, 2))
    for boundary in BOUNDARIES:
        operator = bank.operator((9, 8), boundary, 2, space.random(rng, 1, 2, 9, 8))
        x, y = space.random(rng, 2, *operator.codes_shape), space.random(rng, 2, 2, 9, 8)
        assert dot_test(operator, x, y) < (1e-5 if space.real == "float32" else 1e-12)


@pytest.mark.parametrize(("boundary", "mode"), [("zero", "full"), ("none", "valid")])
def test_boundaries_are_scipys_convolutions(rng, boundary, mode):
    bank = ConvDictionary(rng.standard_normal((3, 1, 4, 3)))
    operator = bank.operator((11, 13), boundary)
    codes = rng.standard_normal((2, *operator.codes_shape))
    expected = sum(
        np.stack([scipy.signal.convolve2d(item[m], bank.filters[m, 0], mode) for item in codes]) for m in range(3)
    )
    np.testing.assert_allclose(bank.synthesize(codes, boundary)[:, 0], expected, atol=1e-12)


def test_circular_convolution_by_definition(rng):
    bank = ConvDictionary(rng.standard_normal((2, 1, 3)))
    codes = rng.standard_normal((1, 2, 6))
    expected = np.zeros(6)
    for m in range(2):
        for n in range(6):
            expected[n] += sum(bank.filters[m, 0, k] * codes[0, m, (n - k) % 6] for k in range(3))
    np.testing.assert_allclose(bank.synthesize(codes)[0, 0], expected, atol=1e-12)


def test_one_channel_dictionary_codes_channels_on_their_own(rng):
    bank = ConvDictionary(rng.standard_normal((4, 1, 3, 3)))
    codes = rng.standard_normal((2, 12, 8, 8))
    image = bank.synthesize(codes)
    for c in range(3):
        np.testing.assert_allclose(image[:, c : c + 1], bank.synthesize(codes[:, 4 * c : 4 * c + 4]), atol=1e-12)


def test_lipschitz_constant_is_exact(rng):
    """The largest singular value of the explicit matrix, for one and several channels."""
    for channels in (1, 3):
        operator = ConvDictionary(rng.standard_normal((4, channels, 3, 2))).operator((6, 5), channels=channels)
        matrix = operator.as_linear_operator() @ np.eye(np.prod(operator.input_shape))
        assert operator.lipschitz == pytest.approx(np.linalg.norm(matrix, 2) ** 2, rel=1e-10)


def test_gram_solve(space, rng):
    """(D Dᴴ + shift)⁻¹ undoes D Dᴴ + shift."""
    for channels in (1, 3):
        bank = ConvDictionary(space.filters(rng, 4, channels, 3, 3))
        image = space.random(rng, 2, channels, 8, 7)
        operator = bank.operator((8, 7), channels=channels, like=image)
        blurred = operator.apply(operator.adjoint(image)) + 0.3 * image
        shift = space.array(np.full(2, 0.3), space.real)
        back = operator.image(operator.solve_gram(operator.spectrum(blurred), shift))
        np.testing.assert_allclose(to_numpy(back), to_numpy(image), rtol=space.rtol * 10, atol=space.rtol * 10)


def test_compositions(rng):
    first = from_scipy(rng.standard_normal((6, 4)), (4,), (2, 3), norm=5.0)
    second = from_scipy(rng.standard_normal((6, 4)), (4,), (2, 3))
    third = from_scipy(rng.standard_normal((5, 6)), (2, 3), (5,), norm=2.0)
    x, y, z = rng.standard_normal((3, 4)), rng.standard_normal((3, 5)), rng.standard_normal((3, 2, 3))
    assert dot_test(third @ first, x, y) < 1e-12
    assert dot_test(first + second, x, z) < 1e-12
    assert dot_test((2 - 1j) * first, x.astype(complex), z.astype(complex)) < 1e-12
    assert dot_test((third @ first).H, y, x) < 1e-12
    np.testing.assert_allclose((third @ (first + second))(x), third(first(x)) + third(second(x)))
    assert (third @ first).norm == 10
    assert (first + second).norm is None
    assert (3 * first).norm == 15
    with pytest.raises(ValueError, match="cannot compose"):
        first @ third
    with pytest.raises(ValueError, match="cannot add"):
        first + third


def test_scipy_shape_mismatch(rng):
    with pytest.raises(ValueError, match="operator has shape"):
        from_scipy(rng.standard_normal((6, 4)), (5,), (6,))
    with pytest.raises(TypeError, match=r"operator must be a matrix or a scipy.sparse.linalg.LinearOperator; got str"):
        from_scipy("matrix", (5,), (6,))
    with pytest.raises(ValueError, match="input_shape must be a tuple of extents; got 4"):
        from_scipy(rng.standard_normal((6, 4)), 4, (6,))


def test_dot_test_sees_a_wrong_adjoint(rng):
    wrong = FunctionOperator(lambda x: 2 * x, lambda y: y, (4,), (4,))
    assert dot_test(wrong, rng.standard_normal((1, 4)), rng.standard_normal((1, 4))) > 1e-3
    assert cscopt.linop.LinearOperator((1,), (1,)).norm is None
    with pytest.raises(ValueError, match=r"x must be \(batch, \*\(4,\)\); got \(1, 3\)"):
        dot_test(wrong, np.ones((1, 3)), np.ones((1, 4)))
    with pytest.raises(ValueError, match=r"y must be \(batch, \*\(4,\)\); got \(4,\)"):
        dot_test(wrong, np.ones((1, 4)), np.ones(4))
    with pytest.raises(TypeError, match="operator must be a LinearOperator; got NoneType"):
        dot_test(None, np.ones((1, 4)), np.ones((1, 4)))
    assert dot_test(wrong) > 1e-3
    assert dot_test(cscopt.Synthesis(np.ones((2, 1, 3, 3)), (8, 9), "symmetric", 1)) < 1e-12
    assert dot_test(cscopt.operators.MRI(np.ones((6, 5)))) < 1e-12
    with pytest.raises(TypeError, match="adjoint must be a function of a batch; got 2"):
        FunctionOperator(abs, 2, (4,), (4,))
    with pytest.raises(ValueError, match="output_shape must be a tuple of extents; got 4"):
        FunctionOperator(abs, abs, (4,), 4)
