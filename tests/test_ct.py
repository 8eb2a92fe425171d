"""CT: exact adjoints, chords of discs, a bound of the norm, FBP's scale, photon noise, ASTRA absent, bad input."""

import importlib
import pickle
import threading

import numpy as np
import pytest

import cscopt
from cscopt import CSCProblem, dot_test, solve
from cscopt.backend import to_numpy
from cscopt.operators import CT, LODOPAB_MU_MAX, fbp, transmission_noise, transmission_weights

try:
    astra = importlib.import_module("astra")
except ImportError:
    astra = None
needs_astra = pytest.mark.skipif(astra is None, reason="astra-toolbox is absent")
needs_gpu = pytest.mark.skipif(astra is None or not astra.use_cuda(), reason="ASTRA sees no GPU")

ANGLES = (np.arange(180) + 0.5) * np.pi / 180
FAN = {"source_distance": 300.0, "detector_distance": 200.0}
CASES = {
    "linear": lambda: CT((12, 15), ANGLES[::9], 21, 0.5, 0.6),
    "line": lambda: CT((12, 15), ANGLES[::9], 21, 0.5, 0.6, "line"),
    "strip": lambda: CT((12, 15), ANGLES[::9], 21, 0.5, 0.6, "strip"),
    "narrow": lambda: CT((12, 15), [0.3], 3, 0.5, 0.6),
    "fan": lambda: CT((12, 15), 2 * ANGLES[::9], 21, 0.5, 0.9, None, 20.0, 10.0),
    "fan strip": lambda: CT((12, 15), 2 * ANGLES[::9], 21, 0.5, 0.9, "strip", 20.0, 10.0),
}


def chords(operator, centre, radius):
    """Exact lengths of the rays in a disc, as mean over each detector pixel."""
    n, size = operator.output_shape[2], operator.detector_size
    fine = (np.arange(16 * n) + 0.5) / 16 * size - n * size / 2
    cos, sin = np.cos(operator.angles)[:, None], np.sin(operator.angles)[:, None]
    along_u, along_v = centre[0] * cos + centre[1] * sin, -centre[0] * sin + centre[1] * cos
    if operator.distances is None:
        miss = fine - along_u
    else:  # from (0, −source) to (fine, detector) in the axes (u, v)
        source, detector = operator.distances
        way = np.array(np.broadcast_arrays(fine, source + detector))
        miss = (along_u * way[1] - (along_v + source) * way[0]) / np.hypot(*way)
    length = 2 * np.sqrt(np.maximum(radius**2 - miss**2, 0))
    return length.reshape(len(operator.angles), n, 16).mean(2)[None, None]


def disc(operator, centre, radius):
    """Share of each pixel inside a disc, and distances of pixels from its centre."""
    _, height, width = operator.input_shape
    fine = [((np.arange(8 * n) + 0.5) / 8 - n / 2) * operator.pixel_size for n in (height, width)]
    distance = np.hypot(-fine[0][:, None] - centre[1], fine[1] - centre[0])
    blocks = distance.reshape(height, 8, width, 8)
    return (blocks < radius).mean((1, 3))[None, None], blocks.mean((1, 3))


@needs_astra
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_adjoint(rng, name, dtype, threads):
    operator = CASES[name]()
    x, y = (rng.standard_normal((2, *s)).astype(dtype) for s in (operator.input_shape, operator.output_shape))
    cscopt.set_threads(threads)
    try:
        image, back = operator.apply(x), operator.adjoint(y)
        assert dot_test(operator, x, y) < 1e-6
    finally:
        cscopt.set_threads(None)
    assert (image.dtype, back.dtype) == (x.dtype, y.dtype)
    assert (image.shape, back.shape) == ((2, *operator.output_shape), (2, *operator.input_shape))
    np.testing.assert_allclose(operator.apply(x[1:]), image[1:], rtol=1e-5, atol=1e-5)


@needs_astra
@pytest.mark.parametrize("name", CASES)
def test_the_adjoint_is_the_transpose_and_the_norm_a_tight_bound(name):
    operator = CASES[name]()
    pixels, data = (np.prod(s) for s in (operator.input_shape, operator.output_shape))
    matrix = operator.apply(np.eye(pixels).reshape(-1, *operator.input_shape)).reshape(pixels, data)
    turned = operator.adjoint(np.eye(data).reshape(-1, *operator.output_shape)).reshape(data, pixels)
    np.testing.assert_allclose(matrix, turned.T, atol=1e-6)
    assert (matrix >= 0).all()
    largest = np.linalg.norm(matrix, 2)
    assert largest <= operator.norm <= 1.0011 * largest


@needs_astra
@pytest.mark.parametrize("beam", ["parallel", "fan"])
@pytest.mark.parametrize("projector", [None, "line", "strip"])
def test_projections_of_a_disc_are_its_chords(beam, projector):
    """Off centre, on a grid that is not square, in units that are not pixels: scale and orientation."""
    operator = CT((100, 120), 2 * ANGLES[::12], 200, 0.5, 0.55, projector, **(FAN if beam == "fan" else {}))
    centre, radius = (12.0, -6.0), 9.0
    exact = chords(operator, centre, radius)
    found = operator.apply(disc(operator, centre, radius)[0])
    assert np.abs(found - exact).mean() < 0.006 * exact.max()
    assert found.sum() == pytest.approx(exact.sum(), rel=2e-3)


@needs_astra
def test_lodopab_is_in_metres():
    operator = CT.lodopab()
    assert (operator.input_shape, operator.output_shape) == ((1, 362, 362), (1, 1000, 513))
    image, _ = disc(operator, (0.03, -0.05), 0.04)
    sums = operator.apply(20 * image).sum(3) * operator.detector_size
    np.testing.assert_allclose(sums, 20 * np.pi * 0.04**2, rtol=1e-3)


@needs_astra
def test_lodopab_takes_the_sets_arrays():
    """ODL gives scikit-image's `radon` np.rot90 of a picture: here by where a disc beside the centre is seen."""
    from skimage.transform import radon

    operator = CT.lodopab()
    image = disc(operator, (0.03, -0.05), 0.02)[0]
    chosen = np.arange(0, 1000, 90)
    theirs = radon(np.rot90(image[0, 0]), (chosen + 0.5) * 180 / 1000, circle=False)
    ours = operator.apply(image)[0, 0, chosen].T
    places = [(np.arange(len(seen)) - (len(seen) - 1) / 2) @ seen / seen.sum(axis=0) for seen in (ours, theirs)]
    found, wanted = places[0] * operator.detector_size, places[1] * operator.pixel_size
    assert np.ptp(wanted) > 0.05
    np.testing.assert_allclose(found, wanted, atol=2 * operator.pixel_size)  # its centre is half a pixel beside ours


@needs_astra
@pytest.mark.parametrize("filter_name", ["ram-lak", "shepp-logan", "cosine", "hamming", "hann"])
def test_fbp_of_a_disc_is_the_disc(filter_name):
    operator = CT((128, 120), (np.arange(400) + 0.5) * np.pi / 400, 201, 0.002, 0.0019)
    centre, radius, mu = (0.03, -0.05), 0.05, 20.0
    exact = mu * chords(operator, centre, radius)
    found = fbp(np.concatenate([exact, 2 * exact]).astype("float32"), operator, filter_name)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[1], 2 * found[0], rtol=1e-4, atol=1e-3)
    _, distance = disc(operator, centre, radius)
    inside, outside = found[0, 0][distance < radius - 0.008], found[0, 0][distance > radius + 0.008]
    assert inside.mean() == pytest.approx(mu, rel=1e-3)
    assert np.abs(inside - mu).max() < 0.01 * mu
    assert abs(outside.mean()) < 1e-3 * mu


@needs_astra
def test_fbp_takes_any_angles_round_the_half_circle(rng):
    """Over the whole circle, in any order, twice, and uneven; a missing wedge does not blow up."""
    centre, radius = (8.0, -5.0), 20.0
    even = (np.arange(300) + 0.5) * np.pi / 300

    def of(angles):
        operator = CT((64, 64), angles, 95)
        return fbp(chords(operator, centre, radius), operator, "hann")[0, 0]

    wanted = of(even)
    for angles in (2 * even, rng.permutation(even) - 7, np.repeat(even, 2), np.r_[even[:150:2], even[150:]]):
        np.testing.assert_allclose(of(angles), wanted, atol=0.02)
    assert np.abs(of(even[:200])).max() < 2


@needs_astra
def test_the_cutoff_removes_high_frequencies(rng):
    operator = CT((64, 64), ANGLES, 64)
    data = rng.standard_normal((1, *operator.output_shape))
    wide, narrow = (fbp(data, operator, cutoff=c).std() for c in (0.5, 0.25))
    assert wide / narrow == pytest.approx(2**1.5, rel=0.15)  # ∫ |ω|² up to the cutoff


@needs_astra
def test_operators_pickle_compose_and_leave_inputs_alone(rng):
    operator = CASES["fan strip"]()
    x = rng.standard_normal((1, *operator.input_shape))
    wanted = operator.apply(x)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(operator)).apply(x), wanted)
    np.testing.assert_array_equal((2.0 * operator).apply(x), 2 * wanted)
    assert operator.H.output_shape == operator.input_shape
    x32 = x.astype(np.float32)
    x32.setflags(write=False)
    np.testing.assert_array_equal(operator.apply(x32), wanted.astype(np.float32))
    np.testing.assert_array_equal(operator.apply(np.asfortranarray(x32)), wanted.astype(np.float32))
    np.testing.assert_allclose(operator.as_linear_operator() @ x.ravel(), wanted.ravel())


@needs_astra
def test_threads_share_an_operator_and_nothing_of_astra_stays(rng, capfd):
    def held():
        capfd.readouterr()
        for kind in (astra.data2d, astra.projector, astra.algorithm):
            kind.info()
        return capfd.readouterr().out

    before = held()
    operator = CASES["linear"]()
    images = rng.standard_normal((8, 1, *operator.input_shape))
    wanted = [operator.adjoint(operator.apply(image)) for image in images]
    found = [None] * 8

    def work(k):
        for _ in range(5):
            found[k] = operator.adjoint(operator.apply(images[k]))

    workers = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    np.testing.assert_array_equal(found, wanted)
    assert held() == before


@needs_astra
def test_csc_with_statistical_weights_beats_fbp():
    operator = CT((48, 48), ANGLES[::3], 69, 0.01)
    image, _ = disc(operator, (0.05, -0.03), 0.12)
    truth = (10 * image + 5 * disc(operator, (-0.1, 0.1), 0.05)[0]).astype(np.float32)
    data = transmission_noise(operator.apply(truth), 500, rng=0)
    low, _ = cscopt.lowpass.split(fbp(data, operator), 2.0)
    bank, weights = cscopt.ConvDictionary.load("natural-8x8x32"), transmission_weights(data)
    problem = CSCProblem(data - operator.apply(low), bank, 0.02, forward=operator, mask=weights)
    solution = solve(problem, "fista", tol=0.1, max_iter=2000)
    assert solution.status == "converged"
    ours = np.linalg.norm(low + solution.reconstruction - truth)
    assert ours < 0.8 * min(np.linalg.norm(fbp(data, operator, "hann", c) - truth) for c in (1.0, 0.8, 0.6))


def test_transmission_noise_counts_photons():
    clean = np.full((200, 500), 2.0, np.float32)
    data = transmission_noise(clean, 1000, rng=0)
    assert data.dtype == np.float32
    counts = 1000 * np.exp(-data.astype(np.float64))
    np.testing.assert_allclose(counts, np.rint(counts), atol=1e-3)
    expected = 1000 * np.exp(-2)
    assert counts.mean() == pytest.approx(expected, rel=2e-3)
    assert counts.var() == pytest.approx(expected, rel=2e-2)
    np.testing.assert_allclose(transmission_weights(data) ** 2, counts / 1000, rtol=1e-5)
    np.testing.assert_array_equal(transmission_noise(clean, 1000, rng=0), data)
    assert (transmission_noise(clean, 1000, rng=1) != data).any()


def test_transmission_noise_where_no_photon_arrives_and_where_more_do():
    assert transmission_noise(np.full(5, 50.0)) == pytest.approx(np.full(5, np.log(4096 / 0.1)))
    assert transmission_noise(np.full(5, 50.0), 10, zero_count=0.5) == pytest.approx(np.full(5, np.log(20)))
    assert transmission_noise(np.full(1000, -1.0), rng=0).mean() == pytest.approx(-1, abs=2e-3)
    assert pytest.approx(81.35858) == LODOPAB_MU_MAX


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ModuleNotFoundError("No module named 'astra'"), "which is not installed: pip"),
        (
            ImportError("libcufft.so: absent"),
            r"which does not load \(libcufft.so: absent\): pip",
        ),
    ],
)
def test_where_astra_is_absent_or_broken_it_is_said(monkeypatch, error, message):
    def absent(name):
        raise error

    monkeypatch.setattr("cscopt.operators.ct.importlib.import_module", absent)
    with pytest.raises(ImportError, match="CT needs astra-toolbox, " + message + r" install 'cscopt\[ct\]'"):
        CT((8, 8), [0.0], 9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CT((8,), [0.0], 9), r"shape must be \(H, W\); got \(8,\)"),
        (lambda: CT((8, 0), [0.0], 9), "shape must be at least 1; got 0"),
        (lambda: CT((8, 8), [[0.0]], 9), r"angles must be finite and \(angle,\), in radians"),
        (lambda: CT((8, 8), [np.nan], 9), "angles must be finite"),
        (lambda: CT((8, 8), np.array([1j]), 9), "angles must be an array of real numbers; got an array of complex128"),
        (lambda: CT((8, 8), "abc", 9), "angles must be an array of real numbers; got 'abc'"),
        (lambda: CT((8, 8), [0.0], 9, 0), "pixel_size must be positive and finite; got 0"),
        (lambda: CT((8, 8), [0.0], 9, 1, -1), "detector_size must be positive and finite; got -1"),
        (lambda: CT((8, 8), [0.0], 9, projector="cubic"), "projector must be 'linear', 'line', 'strip' or 'cuda'"),
        (lambda: CT((8, 8), [0.0], 9, source_distance=20), "must be given both, or neither"),
        (lambda: CT((8, 8), [0.0], 9, source_distance=5, detector_distance=5), "source_distance must lie outside"),
        (lambda: CT((8, 8), [0.0], 9, 1, 1, "linear", 20, 5), "projector must be .* for a fan beam; got 'linear'"),
        (lambda: transmission_noise(np.ones(3), 0), "photons must be positive and finite; got 0"),
        (lambda: transmission_noise(np.ones(3), -4096), "photons must be positive and finite; got -4096"),
        (lambda: transmission_noise(np.full(3, -900.0)), "sinogram must not be so negative that no one can count"),
        (lambda: transmission_noise(np.ones(3), zero_count=0), "zero_count must be positive and finite; got 0"),
        (lambda: transmission_noise(np.array([1.0, np.nan])), "sinogram must be finite; it contains NaN"),
        (lambda: transmission_noise([1.0]), "sinogram must be an array; got list"),
        (
            lambda: transmission_weights(np.full(3, -1e5)),
            "data must not be so negative that weights are infinite; its least entry is -100000",
        ),
        (lambda: transmission_weights(np.ones(3, int)), "data must be float32 or float64; got int64"),
        (lambda: fbp(np.ones((1, 1, 2, 3)), None), "operator must be a CT; got NoneType"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


@needs_astra
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda a: a.apply(np.ones((1, 1, 12, 14))), r"image must be \(batch, \*\(1, 12, 15\)\); got \(1, 1, 12, 14\)"),
        (lambda a: a.apply(np.ones((1, 1, 12, 15), complex)), "image must be float32 or float64; got complex128"),
        (lambda a: a.apply(np.full((1, 1, 12, 15), np.inf)), "image must be finite; it contains infinity"),
        (lambda a: a.adjoint(np.ones((20, 21))), r"data must be \(batch, \*\(1, 20, 21\)\)"),
        (lambda a: fbp(np.ones((1, 1, 20, 21)), a, "hamm"), "filter must be 'ram-lak'"),
        (lambda a: fbp(np.ones((1, 1, 20, 21)), a, cutoff=0), "cutoff must be above 0 and at most 1; got 0"),
        (lambda a: fbp(np.ones((1, 1, 20, 20)), a), "sinogram must be"),
        (lambda a: fbp(np.ones((1, 1, 20, 21)), CASES["fan"]()), "fbp does not serve a fan beam"),
        (lambda a: CT((8, 8), [0.0], 0), "detectors must be at least 1; got 0"),
    ],
)
def test_bad_input_to_an_operator(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make(CASES["linear"]())


@needs_astra
@pytest.mark.parametrize("library", ["array_api_strict", pytest.param("cupy", marks=pytest.mark.gpu)])
def test_other_libraries_are_copied_to_the_host_and_back(rng, library):
    xp, operator = pytest.importorskip(library), CASES["linear"]()
    image, data = (rng.standard_normal((2, *s)) for s in (operator.input_shape, operator.output_shape))
    for function, values in (
        (operator.apply, image),
        (operator.adjoint, data),
        (lambda s: fbp(s, operator, "hann"), data),
        (lambda s: transmission_noise(s, 1e4, rng=3), np.abs(data)),
        (transmission_weights, data),
    ):
        found = function(xp.asarray(values))
        assert type(found) is type(xp.asarray(values))
        np.testing.assert_array_equal(to_numpy(found), function(values))


@needs_astra
@pytest.mark.skipif(astra is not None and astra.use_cuda(), reason="ASTRA sees a GPU")
def test_cuda_is_refused_without_a_gpu():
    with pytest.raises(ValueError, match="projector must not be 'cuda' where ASTRA sees no GPU"):
        CT((8, 8), [0.0], 9, projector="cuda")


@needs_gpu
@pytest.mark.gpu
@pytest.mark.parametrize("beam", [{}, FAN])
def test_cuda_projects_as_the_cpu_does(rng, beam):
    makes = [CT((100, 120), 2 * ANGLES, 200, 0.5, 0.55, p, **beam) for p in ("cuda", None)]
    image, _ = disc(makes[0], (12.0, -6.0), 9.0)
    projected = [operator.apply(image) for operator in makes]
    assert np.linalg.norm(projected[0] - projected[1]) < 0.01 * np.linalg.norm(projected[1])
    back = [operator.adjoint(projected[1]) for operator in makes]
    assert np.linalg.norm(back[0] - back[1]) < 0.03 * np.linalg.norm(back[1])
