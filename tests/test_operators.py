"""Forward operators: adjoints in every namespace, norms, definitions written out, masks and kernels, bad input."""

import math

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal

from cscopt import ConvDictionary, CSCProblem, FunctionOperator, certify, dot_test, solve
from cscopt.backend import to_numpy
from cscopt.operators import (
    MRI,
    Bicubic,
    Blur,
    ChannelMix,
    Decimate,
    Mask,
    cartesian_mask,
    complex_noise,
    gaussian_kernel,
    low_resolution_mask,
    missing_pixels,
    motion_kernel,
    radial_mask,
    random_mask,
    shake_kernel,
)


def coils(rng, count, shape):
    return rng.standard_normal((count, *shape)) + 1j * rng.standard_normal((count, *shape))


def operators(rng):
    """Every operator, on odd and even sizes, in one to three dimensions."""
    kernel = rng.standard_normal((4, 3))
    return {
        "mri": MRI(random_mask((10, 9), 2, rng=0)),
        "mri 1-D": MRI(random_mask((17,), 3, rng=0)),
        "mri 3-D": MRI(random_mask((6, 5, 4), 2, rng=0)),
        "coils": MRI(cartesian_mask((9, 12), 2, rng=0), coils(rng, 3, (9, 12))),
        "blur": Blur((2, 9, 8), kernel),
        "blur zero": Blur((2, 9, 8), kernel, "zero"),
        "blur none": Blur((2, 9, 8), kernel, "none"),
        "blur 1-D": Blur((1, 11), rng.standard_normal(4), "none"),
        "blur 3-D": Blur((1, 5, 6, 7), rng.standard_normal((2, 3, 4)), "zero"),
        "mask": Mask((2, 9, 8), rng.random((9, 8)) > 0.5),
        "weights": Mask((2, 9, 8), rng.random((2, 9, 1))),
        "mix": ChannelMix((3, 7, 5), rng.standard_normal((2, 3))),
        "decimate": Decimate((2, 9, 8), 3, 1),
        "decimate 3-D": Decimate((1, 5, 6, 7), 2),
        "bicubic": Bicubic((2, 9, 8), 0.5),
        "bicubic larger": Bicubic((1, 5, 6), 1.7),
        "composed": Decimate((1, 7, 6), 2) @ Blur((1, 10, 8), kernel, "none"),
        "summed": Blur((2, 9, 8), kernel) + 0.5 * Mask((2, 9, 8), np.ones((9, 8))),
    }


NAMES = list(operators(np.random.default_rng(0)))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_adjoint_and_norm(space, rng, name, batch):
    operator = operators(rng)[name]
    if name in ("mri", "mri 1-D", "mri 3-D", "coils") and not space.complex:
        pytest.skip("MRI's data are complex")
    x, y = (space.random(rng, batch, *s) for s in (operator.input_shape, operator.output_shape))
    assert dot_test(operator, x, y) < (1e-5 if space.real == "float32" else 1e-12)
    image = operator.apply(x)
    assert image.dtype == x.dtype
    assert operator.adjoint(y).dtype == y.dtype
    assert tuple(image.shape) == (batch, *operator.output_shape)
    assert np.linalg.norm(to_numpy(image)) <= operator.norm * np.linalg.norm(to_numpy(x)) * (1 + 1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_any_byte_order_serves(rng, name):
    operator, kind = operators(rng)[name], "c16" if name in ("mri", "mri 1-D", "mri 3-D", "coils") else "f8"
    for function, shape in ((operator.apply, operator.input_shape), (operator.adjoint, operator.output_shape)):
        array = rng.standard_normal((2, *shape)).astype(kind)
        found = function(array.astype(">" + kind))
        assert found.dtype.isnative
        np.testing.assert_array_equal(found, function(array))


@pytest.mark.parametrize("name", NAMES)
def test_norms_bound_the_largest_singular_value(rng, name):
    operator = operators(rng)[name]
    matrix = operator.as_linear_operator(complex) @ np.eye(math.prod(operator.input_shape), dtype=complex)
    largest = np.linalg.norm(matrix, 2)
    assert largest <= operator.norm * (1 + 1e-10)
    if name in ("mri", "mri 1-D", "mri 3-D", "blur", "mask", "weights", "mix", "decimate", "decimate 3-D", "bicubic"):
        assert largest == pytest.approx(operator.norm, rel=1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_scipys_view_passes_the_dot_test(rng, name, dtype):
    """⟨u, A v⟩ = ⟨Aᴴ u, v⟩ on flattened vectors, as PyLops asks, in SciPy's conventions."""
    operator = operators(rng)[name]
    view = operator.as_linear_operator()
    assert view.dtype == (complex if name in ("mri", "mri 1-D", "mri 3-D", "coils") else float)
    v, u = (rng.standard_normal((n, 3)).astype(dtype) for n in view.shape[::-1])
    if view.dtype == complex:
        v, u = (a * np.exp(1j * rng.standard_normal(a.shape)).astype(np.result_type(dtype, "c8")) for a in (v, u))
    ahead, back = view @ v, view.H @ u
    assert (ahead.dtype, back.dtype) == (v.dtype, u.dtype)
    assert abs(np.vdot(u, ahead) - np.vdot(back, v)) < (1e-5 if dtype == "float32" else 1e-12) * np.linalg.norm(
        u
    ) * np.linalg.norm(ahead)
    np.testing.assert_allclose(view @ v[:, 1], ahead[:, 1])


@pytest.mark.parametrize("name", NAMES)
def test_torch_differentiates(rng, name):
    torch = pytest.importorskip("torch")
    operator = operators(rng)[name]
    x = torch.from_numpy(rng.standard_normal((1, *operator.input_shape)) + 0j).requires_grad_()
    y = torch.from_numpy(rng.standard_normal((1, *operator.output_shape)) + 0j)
    torch.sum((torch.conj(y) * operator.apply(x)).real).backward()
    np.testing.assert_allclose(to_numpy(x.grad), to_numpy(operator.adjoint(y)), atol=1e-10)


@pytest.mark.parametrize("shape", [(8, 6), (7, 9), (11,)])
def test_mri_is_the_centred_orthonormal_transform(rng, shape):
    x = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    expected = np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(x), norm="ortho"))
    np.testing.assert_allclose(MRI(np.ones(shape)).apply(x[None, None])[0, 0], expected, atol=1e-12)
    mask = random_mask(shape, 2, rng=1)
    operator = MRI(mask)
    np.testing.assert_array_equal(operator.mask, mask)
    np.testing.assert_allclose(operator.apply(x[None, None])[0, 0], mask * expected, atol=1e-12)
    maps = coils(rng, 2, shape)
    by_coil = [np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(s * x), norm="ortho")) * mask for s in maps]
    np.testing.assert_allclose(MRI(mask, maps).apply(x[None, None])[0], by_coil, atol=1e-12)


def test_responses_say_what_the_operators_do(rng):
    """‖y − A x‖² = Σ |ŷ − h x̂|² / n."""
    for operator, complex_part in ((MRI(random_mask((8, 9), 2, rng=0)), 1j), (Blur((1, 8, 9), np.ones((3, 4))), 0)):
        x, y = (rng.standard_normal((1, 1, 8, 9)) + complex_part * rng.standard_normal((1, 1, 8, 9)) for _ in range(2))
        transform = np.fft.fft2(x) if complex_part else np.fft.rfft2(x)
        difference = operator.spectrum_of(y) - operator.response(x) * transform
        if not complex_part:
            twice = np.where((np.arange(5) == 0), 1, 2)
            difference = difference * np.sqrt(twice)
        expected = np.sum(np.abs(y - operator.apply(x)) ** 2)
        assert np.sum(np.abs(difference) ** 2) / 72 == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("boundary", "mode"), [("circular", "wrap"), ("zero", "constant")])
@pytest.mark.parametrize("support", [(3, 5), (4, 2)])
def test_blur_is_scipys_convolution(rng, boundary, mode, support):
    image, kernel = rng.standard_normal((9, 8)), rng.standard_normal(support)
    expected = scipy.ndimage.convolve(image, kernel, mode=mode)
    np.testing.assert_allclose(Blur((1, 9, 8), kernel, boundary).apply(image[None, None])[0, 0], expected, atol=1e-12)
    valid = Blur((1, 9, 8), kernel, "none").apply(image[None, None])[0, 0]
    np.testing.assert_allclose(valid, scipy.signal.convolve2d(image, kernel, "valid"), atol=1e-12)


def test_decimate_and_mix(rng):
    image = rng.standard_normal((2, 3, 9, 8))
    np.testing.assert_array_equal(Decimate((3, 9, 8), 3, 2).apply(image), image[:, :, 2::3, 2::3])
    grey = ChannelMix((3, 9, 8), [[0.299, 0.587, 0.114]]).apply(image)
    np.testing.assert_allclose(grey, np.einsum("c,bchw->bhw", [0.299, 0.587, 0.114], image)[:, None])


def test_masks_have_their_number_of_samples():
    for shape in ((64, 64), (63, 50), (128,), (16, 18, 20)):
        for acceleration in (1, 3.3, 4):
            mask = random_mask(shape, acceleration, rng=3)
            assert mask.shape == shape
            assert mask.sum() == round(mask.size / acceleration)
            assert mask[tuple(n // 2 for n in shape)]
    lines = cartesian_mask((40, 100), 4, 0.08, rng=0)
    assert lines.sum() == 40 * 25
    assert (lines == lines[:1]).all()
    assert lines[0, 46:54].all()
    assert cartesian_mask((40, 100), 4, 0.1, axis=0, rng=0)[:, 0].sum() == 10
    low = low_resolution_mask((64, 64), 4)
    assert low.sum() == 32 * 32
    assert low[16:48, 16:48].all()
    spokes = radial_mask((64, 64), 1)
    assert spokes[32].all()
    assert spokes.sum() == 64
    assert radial_mask((64, 64), 20).sum() > 10 * 50
    missing = missing_pixels((30, 40), 0.5, rng=0)
    assert (~missing).sum() == 600


def test_random_masks_are_denser_in_the_middle():
    mask = sum(random_mask((64, 64), 4, rng=k).astype(float) for k in range(20)) / 20
    assert mask[28:36, 28:36].mean() > 0.8 > 0.05 > mask[:4, :4].mean()
    assert abs(sum(random_mask((64, 64), 4, 0, 0, rng=k)[:32].mean() for k in range(20)) / 20 - 0.25) < 0.02


def test_seeds_repeat():
    for make in (lambda s: random_mask((20, 20), 3, rng=s), lambda s: shake_kernel(rng=s)):
        np.testing.assert_array_equal(make(5), make(5))
        assert make(5).shape != make(6).shape or (make(5) != make(6)).any()


def test_kernels_sum_to_one_with_their_mass_in_the_middle():
    for kernel in (
        gaussian_kernel(1.5),
        motion_kernel(9, 0.4),
        motion_kernel(5, 0),
        *(shake_kernel(19, rng=k) for k in range(20)),
    ):
        assert kernel.sum() == pytest.approx(1)
        assert (kernel >= 0).all()
        assert all(n % 2 == 1 for n in kernel.shape)
        middle = [n // 2 for n in kernel.shape]
        np.testing.assert_allclose(scipy.ndimage.center_of_mass(kernel), middle, atol=1e-6)
    assert motion_kernel(5, 0).shape[0] == 1
    assert motion_kernel(5, math.pi / 2).shape[1] == 1
    variance = (gaussian_kernel(1.5).sum(axis=0) * np.arange(-6, 7) ** 2).sum()
    assert variance == pytest.approx(1.5**2, rel=0.01)
    assert gaussian_kernel(1.0, 3).ndim == 3


def test_noise_has_its_size_and_place(rng):
    mask = random_mask((64, 64), 2, rng=0)
    noisy = complex_noise(np.zeros((1, 1, 64, 64), "complex64"), 0.3, mask, rng=0)
    assert noisy.dtype == np.complex64
    assert (noisy[0, 0][~mask] == 0).all()
    assert noisy.real[0, 0][mask].std() == pytest.approx(0.3, rel=0.05)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MRI(np.zeros((4, 4))), "mask must sample at least one frequency"),
        (lambda: MRI(np.full((4, 4), 0.5)), "mask must hold 0 and 1 alone"),
        (lambda: MRI(np.ones((4, 4)), np.ones((2, 4, 5))), r"sensitivities must be \(coil, 4, 4\); got \(2, 4, 5\)"),
        (lambda: MRI(np.ones((4, 4)), np.zeros((2, 4, 4))), "sensitivities must be finite and not zero"),
        (
            lambda: MRI(np.ones((4, 4))).apply(np.ones((1, 4, 4))),
            r"image must be \(batch, \*\(1, 4, 4\)\); got \(1, 4, 4\)",
        ),
        (lambda: MRI(np.ones((4, 4))).adjoint(np.ones((1, 1, 4, 4))), "data must be complex; got float64"),
        (
            lambda: CSCProblem(np.ones((1, 1, 4, 4)), np.ones((2, 1, 2, 2)), 0.1, forward=MRI(np.ones((4, 4)))),
            "data must be complex; got float64",
        ),
        (lambda: MRI(np.ones((4, 4)), norm="backward"), "norm must be 'ortho'; got 'backward'"),
        (lambda: random_mask((8, 8), 0.5), "acceleration must be at least 1"),
        (lambda: random_mask((8, 8), 4, centre=0.9), "centre must leave the acceleration its samples"),
        (lambda: cartesian_mask((8, 8), 4, centre=0.9), "centre must leave the acceleration its lines"),
        (lambda: random_mask((8.5, 8), 4), "shape must be an integer; got 8.5"),
        (lambda: cartesian_mask((8, 8), 4, axis=2), "axis must be one of the 2 of the image; got 2"),
        (lambda: radial_mask(8, 4), "shape must be a tuple of extents; got 8"),
        (lambda: complex_noise(np.ones(3, complex), -1), "sigma must be finite and not negative; got -1"),
        (lambda: complex_noise(np.ones(3), 1.0), "data must be a complex NumPy array; got float64"),
        (lambda: complex_noise(np.ones((2, 3), complex), 1.0, np.ones(2)), r"mask must broadcast .*got shape \(2,\)"),
        (lambda: Blur((1, 4, 4), np.ones((5, 3))), r"kernel must not be larger than the image; got \(5, 3\)"),
        (lambda: Blur((1, 4, 4), np.ones(3)), "kernel must have 2 axes"),
        (lambda: Blur((1, 4, 4), np.full((2, 2), np.nan)), "kernel must be real, finite"),
        (lambda: Blur((1, 4, 4), np.ones((2, 2)), "mirror"), "boundary must be 'circular'"),
        (
            lambda: Mask((1, 4, 4), np.ones((4, 5))),
            r"mask must broadcast against the image \(1, 4, 4\); got shape \(4, 5",
        ),
        (lambda: Mask((1, 4, 4), np.ones((3, 4, 4))), "mask must broadcast against the image"),
        (lambda: Mask((1, 4, 4), "mask"), "mask must be an array of real numbers; got 'mask'"),
        (lambda: Mask((1, 4, 4), np.full((4, 4), np.inf)), "mask must be finite"),
        (lambda: Blur((1, 4, 4), [[1, 2], [3]]), r"kernel must be an array of numbers; got \[\[1, 2\], \[3\]\]"),
        (lambda: Blur((1, 4, 4), np.array([[None]])), "kernel must be an array of numbers; got an array of object"),
        (lambda: Blur((1, 4, 4), np.ones((2, 2)), np.ones(2)), "boundary must be 'circular'"),
        (lambda: Blur(48, np.ones((2, 2))), "input_shape must be a tuple of extents; got 48"),
        (lambda: ChannelMix((1, 4, 4), np.array([["a"]])), "matrix must be an array of numbers; got an array of <U1"),
        (lambda: MRI([[1, 0], [1]]), "mask must be an array of numbers"),
        (lambda: MRI(np.ones((4, 4)), np.full((2, 4, 4), "a")), "sensitivities must be an array of numbers"),
        (lambda: random_mask((8, 8), 2, centre=-1), "centre must not be negative; got -1"),
        (lambda: Mask((1, 4, 4), np.ones((4, 4))).apply(np.ones((4, 4))), r"image must be \(batch, \*\(1, 4, 4\)\)"),
        (lambda: Mask((1, 4, 4), np.zeros((4, 4))), "mask must not be zero everywhere"),
        (lambda: ChannelMix((3, 4, 4), np.ones((1, 2))), "matrix must have 3 columns"),
        (lambda: ChannelMix((3, 4, 4), np.ones((1, 3))).apply(np.ones((1, 2, 4, 4))), "image must be"),
        (lambda: ChannelMix((3, 4, 4), np.ones((1, 3))).adjoint(np.ones((1, 3, 4, 4))), "data must be"),
        (lambda: Decimate((1, 4, 4), 0), "factor must be at least 1"),
        (lambda: Decimate((1, 4, 4), 2, 2), "offset must be below the factor"),
        (lambda: Decimate((1, 4, 4), 2).apply(np.ones((1, 1, 5, 5))), "image must be"),
        (lambda: Decimate((1, 4, 4), 2).adjoint(np.ones((1, 1, 4, 4))), "data must be"),
        (lambda: missing_pixels((4, 4), 1.0), "share must be at least 0 and below 1"),
        (lambda: motion_kernel(0, 1), "length must be positive"),
        (lambda: gaussian_kernel(-1), "sigma must be positive"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_batch_is_refused(space, rng, name):
    operator = operators(rng)[name]
    for function, shape in ((operator.apply, operator.input_shape), (operator.adjoint, operator.output_shape)):
        if name not in ("composed", "summed"):
            with pytest.raises(ValueError, match=r"must be \(batch, .* with an item at least; got \(0, "):
                function(space.array(np.zeros((0, *shape))))


def test_a_complex_mix_of_real_channels_is_complex(space, rng):
    matrix = rng.standard_normal((2, 3)) + 1j * rng.standard_normal((2, 3))
    operator = ChannelMix((3, 7, 5), matrix)
    x, y = space.random(rng, 2, 3, 7, 5), space.random(rng, 2, 2, 7, 5)
    expected = np.einsum("rc,bchw->brhw", matrix, to_numpy(x))
    np.testing.assert_allclose(to_numpy(operator(x)), expected, rtol=space.rtol, atol=space.rtol)
    assert dot_test(operator, x, y) < (1e-5 if space.real == "float32" else 1e-12)
    if not space.complex:
        with pytest.raises(TypeError, match="signal must be complex, as the data that forward makes are"):
            CSCProblem(y, space.filters(rng, 4, 1, 3, 2), 0.1, forward=operator)


FOLDED = {
    "mri": lambda: MRI(random_mask((10, 9), 2, rng=0)),
    "blur": lambda: Blur((2, 10, 9), np.random.default_rng(1).standard_normal((3, 4))),
}


@pytest.mark.parametrize("name", FOLDED)
def test_an_operator_of_the_frequency_domain_costs_nothing_and_changes_nothing(space, rng, name):
    """Folded into the filters' spectra, iterates and certificates are those of the operator applied as it is."""
    if name == "mri" and not space.complex:
        pytest.skip("MRI's data are complex")
    operator = FOLDED[name]()
    plain = FunctionOperator(operator.apply, operator.adjoint, operator.input_shape, operator.output_shape)
    plain._norm = operator.norm
    bank, signal = ConvDictionary(space.filters(rng, 4, 1, 3, 2)), space.random(rng, 2, *operator.output_shape)
    lam = 0.5 if space.library == "strict" else 0.05  # array-api-strict is slow: a sixth of the iterations to one gap
    folded, applied = (CSCProblem(signal, bank, lam, forward=a) for a in (operator, plain))
    assert folded.datafit.spectral
    assert not applied.datafit.spectral
    assert to_numpy(folded.lipschitz).max() <= to_numpy(applied.lipschitz).max() * (1 + 1e-6)
    codes = space.random(rng, 2, *folded.codes_shape[1:])
    for what in (CSCProblem.objective, CSCProblem.gradient):
        np.testing.assert_allclose(
            to_numpy(what(folded, codes)), to_numpy(what(applied, codes)), rtol=space.rtol, atol=space.rtol
        )
    for one, other in zip(certify(folded, codes), certify(applied, codes), strict=True):
        np.testing.assert_allclose(to_numpy(one), to_numpy(other), rtol=space.rtol, atol=space.rtol)
    assert folded.lambda_max == pytest.approx(applied.lambda_max, rel=space.rtol)
    tol = 3e-3 if space.real == "float32" else 1e-4
    expected = solve(applied, "fista", tol=tol, max_iter=20000)
    for method in ("fista", "admm", "auto"):
        found = solve(folded, method, tol=tol, max_iter=20000)
        assert found.status == "converged", found
        assert found.objective == pytest.approx(expected.objective, rel=2 * tol)
        assert tuple(found.reconstruction.shape) == (2, *operator.input_shape)
    absorbs = (name, space.library) == ("blur", "numpy")
    assert found.solver.name in (("admm", "working-set") if absorbs else ("admm",))


def test_samples_outside_the_mask_count_in_the_objective(rng):
    """They cannot be explained: a constant, and the same with and without folding."""
    operator = MRI(random_mask((10, 9), 2, rng=0))
    y = rng.standard_normal((1, 1, 10, 9)) + 1j * rng.standard_normal((1, 1, 10, 9))
    problem = CSCProblem(y, rng.standard_normal((3, 1, 3, 3)), 0.1, forward=operator)
    zero = np.zeros(problem.codes_shape, complex)
    assert float(problem.objective(zero)[0]) == pytest.approx(0.5 * np.sum(np.abs(y) ** 2))


def test_weights_and_boundaries_are_served_unfolded(rng):
    operator = Blur((1, 10, 9), np.ones((3, 3)) / 9)
    signal, bank = rng.standard_normal((1, 1, 10, 9)), rng.standard_normal((3, 1, 3, 3))
    for options in ({"mask": rng.random((10, 9))}, {"boundary": "zero"}):
        problem = CSCProblem(signal, bank, 0.1, forward=operator, **options)
        assert not problem.datafit.spectral
        for method in ("auto", "fista"):
            assert solve(problem, method, tol=1e-5, max_iter=5000).status == "converged"


@pytest.mark.parametrize("name", FOLDED)
def test_unrolled_iterations_go_through_the_folded_operator(rng, name):
    torch = pytest.importorskip("torch")
    from learned import UnrolledISTA

    operator = FOLDED[name]()
    signal = torch.from_numpy(rng.standard_normal((1, *operator.output_shape)) + (1j if name == "mri" else 0))
    problem = CSCProblem(
        signal, ConvDictionary(torch.from_numpy(rng.standard_normal((4, 1, 3, 2)))), 0.1, forward=operator
    )
    for tied in (True, False):
        module = UnrolledISTA.from_problem(problem, 5, tied=tied, free_iterations=2)
        codes = module(signal)
        expected = solve(problem, "ista", tol=0, max_iter=7).codes
        torch.testing.assert_close(codes, expected, rtol=1e-10, atol=1e-10)
        codes.abs().sum().backward()
        assert float(module.filters.grad.abs().max()) > 0
