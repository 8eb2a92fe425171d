"""Restorations in one call: better than the linear estimate, in the axes given, and clear about what does not fit."""

import imageio.v3 as iio
import numpy as np
import pytest
from scipy.sparse.linalg import aslinearoperator

import cscopt
from cscopt import FunctionOperator, datasets, from_scipy, io
from cscopt.cli import main
from cscopt.operators import (
    CT,
    MRI,
    Bicubic,
    Blur,
    complex_noise,
    gaussian_kernel,
    missing_pixels,
    random_mask,
    shake_kernel,
    transmission_noise,
)
from cscopt.tasks.restore import _levelled, judged, noise_level


@pytest.fixture(scope="module")
def truth():
    return datasets.picture("camera")[100:196, 180:276].astype(np.float32)


def noisy(truth, sigma, seed=0):
    return truth + np.float32(sigma) * np.random.default_rng(seed).standard_normal(truth.shape, dtype=np.float32)


def test_denoise(truth):
    data = noisy(truth, 0.1)
    found = cscopt.denoise(data, noise=0.1, truth=truth)
    assert found.image.shape == truth.shape
    assert found.image.dtype == np.float32
    assert found.metrics["psnr"] > found.metrics["psnr_first"] + 6
    assert found.metrics["psnr_first"] == pytest.approx(20, abs=0.2)
    assert found.lam == pytest.approx(0.22)
    assert found.solution.gap <= 1e-2
    blind = cscopt.denoise(data, truth=truth)
    assert blind.lam == pytest.approx(found.lam, rel=0.15)


def test_noise_level():
    for shape in ((1, 1, 200), (1, 3, 80, 90), (1, 1, 20, 21, 22)):
        noise = 0.05 * np.random.default_rng(1).standard_normal(shape)
        assert noise_level(1 + noise) == pytest.approx(0.05, rel=0.1)


def test_inpaint_beats_linear_interpolation(truth):
    known = missing_pixels(truth.shape, 0.5, 0)
    data = np.where(known, truth, 7.0).astype(np.float32)
    found = cscopt.inpaint(data, known, truth=truth)
    assert found.metrics["psnr"] > found.metrics["psnr_first"] + 0.8
    np.testing.assert_array_equal(found.image[known], truth[known])
    again = cscopt.inpaint(np.where(known, truth, np.nan).astype(np.float32), known)
    np.testing.assert_array_equal(again.image, found.image)  # what is missing does not matter
    grainy = cscopt.inpaint(noisy(data, 0.02), known, noise=0.02, truth=truth)
    residual = (noisy(data, 0.02) - grainy.image)[known]
    assert np.sqrt(np.mean(residual**2)) == pytest.approx(0.02, rel=0.05)


def test_inpaint_where_little_is_known(rng):
    line = np.sin(np.arange(64) / 5).astype(np.float32)
    known = np.arange(64) % 3 == 0
    bank = rng.standard_normal((4, 9)).astype(np.float32)
    found = cscopt.inpaint(line, known, dictionary=cscopt.ConvDictionary(bank[:, None]), truth=line)
    assert found.metrics["psnr"] > 20
    single = np.zeros((16, 16), np.float32)
    mask = np.zeros((16, 16), bool)
    mask[3, 4] = True
    single[3, 4] = 0.5
    assert np.isfinite(cscopt.inpaint(single, mask, lam=0.1).image).all()


@pytest.mark.parametrize("boundary", ["circular", "zero", "none"])
def test_deblur(truth, boundary):
    kernel = gaussian_kernel(1.5)
    blur = Blur((1, *truth.shape), kernel, boundary)
    data, seen = noisy(blur.apply(truth[None, None])[0, 0].astype(np.float32), 0.005), truth[blur.seen]
    found = cscopt.deblur(data, kernel, noise=0.005, boundary=boundary, truth=seen, max_iter=200)
    assert found.image.shape == data.shape
    assert found.metrics["psnr"] > found.metrics["psnr_first"] + (1.5 if boundary == "circular" else 0.8)


def test_a_photograph_is_deblurred_as_it_is(truth):
    """Nothing is assumed of what lies outside; a scene that wraps around is not what a camera sees."""
    kernel = shake_kernel(9, rng=4)
    camera = Blur((1, *truth.shape), kernel, "none")
    data, seen = noisy(camera.apply(truth[None, None])[0, 0].astype(np.float32), 0.003), truth[camera.seen]
    found = cscopt.deblur(data, kernel, truth=seen)
    assert found.metrics["psnr"] > found.metrics["psnr_first"] + 3
    assert cscopt.deblur(data, kernel, truth=seen, boundary="circular").metrics["psnr"] < found.metrics["psnr"] - 3


def test_super_resolve(truth):
    small = Bicubic((1, *truth.shape), 0.5).apply(truth[None, None])[0, 0]
    found = cscopt.super_resolve(small, 2, truth=truth)
    assert found.image.shape == truth.shape
    assert found.metrics["psnr"] > found.metrics["psnr_first"] + 0.5


def test_the_smooth_part_has_the_means_that_fit(rng):
    """Whatever constant a first estimate has: filters without a mean could not mend it."""
    operator, weights = Blur((2, 16, 15), gaussian_kernel(1.0), "zero"), rng.random((1, 2, 16, 15))
    low, data = rng.standard_normal((2, 1, 2, 16, 15))
    for mask in (None, weights):
        found = _levelled(low, data, operator, mask)
        moved = _levelled(low + np.array([3.0, -7.0]).reshape(1, 2, 1, 1), data, operator, mask)
        np.testing.assert_allclose(moved, found, atol=1e-10)
        assert np.ptp(found - low, axis=(2, 3)).max() < 1e-12
        rest = (1 if mask is None else mask**2) * (data - operator.apply(found))
        assert abs(operator.adjoint(rest).sum(axis=(2, 3))).max() < 1e-10


@pytest.mark.parametrize("coils", [False, True])
def test_reconstruct_mri(truth, coils):
    mask = random_mask(truth.shape, 3, rng=0)
    ramp = np.linspace(0, 1, truth.shape[0], dtype=np.float32)[:, None] * np.ones_like(truth)
    sensitivities = np.stack([np.sqrt(ramp), np.sqrt(1 - ramp) * 1j]) if coils else None
    scanner = MRI(mask, sensitivities)
    data = scanner.apply(truth[None, None].astype(np.complex64))
    data = complex_noise(data, 0.002, mask, rng=0).astype(np.complex64)
    given = data[0] if coils else data[0, 0]
    found = cscopt.reconstruct_mri(given, mask, sensitivities, truth=truth, max_iter=100)
    assert found.image.dtype == np.complex64
    assert found.metrics["psnr"] > found.metrics["psnr_first"] + 2
    litter = np.where(mask, given, 9 + 9j).astype(np.complex64)
    again = cscopt.reconstruct_mri(litter, mask, sensitivities, max_iter=100)
    np.testing.assert_allclose(again.image, found.image, atol=1e-5)  # what is not sampled does not matter
    options = {"max_iter": 100, "tol": 0.1} if coils else {"max_iter": 2000}
    quiet = cscopt.reconstruct_mri(given, mask, sensitivities, noise=0.002, **options)
    misfit = (scanner.apply(quiet.image[None, None]) - data)[..., mask > 0]
    assert np.sqrt(np.mean(np.abs(misfit) ** 2) / 2) == pytest.approx(0.002, rel=0.05)


def test_reconstruct_ct(rng):
    """Any operator serves; here line sums of a small square."""
    n = 24
    truth = np.zeros((n, n))
    truth[6:18, 8:14] = 1
    rays = rng.standard_normal((300, n * n)) / n
    operator = from_scipy(aslinearoperator(rays), (1, n, n), (1, 20, 15))
    data = operator.apply(truth[None, None])[0, 0]
    first = operator.adjoint(data[None, None])[0, 0]
    found = cscopt.reconstruct_ct(data, operator, first, truth=truth, weights=np.ones((20, 15)), max_iter=300)
    assert found.metrics["psnr"] > found.metrics["psnr_first"] + 3


def test_reconstruct_ct_by_astra(truth, tmp_path, capsys):
    try:
        scanner = CT((67, 67), np.arange(90) * np.pi / 90, 95)
    except ImportError as error:
        pytest.skip(str(error))
    picture = truth[:67, :67]
    data = transmission_noise(scanner.apply(picture[None, None])[0, 0] / 20, 1e4, rng=0) * np.float32(20)
    found = cscopt.reconstruct_ct(data, scanner, truth=picture, max_iter=100)
    assert found.metrics["psnr"] > found.metrics["psnr_first"] + 1
    np.save(tmp_path / "data.npy", data)
    target = tmp_path / "out.npy"
    assert main(["reconstruct", "ct", str(tmp_path / "data.npy"), "-o", str(target), "--max-iter", "20"]) == 0
    assert "admm" in capsys.readouterr().out
    assert np.load(target).shape == (67, 67)


def test_axes_and_namespaces(truth):
    torch = pytest.importorskip("torch")
    colour = np.stack([truth, truth[::-1], truth.T])[:, :48, :48]
    data = noisy(colour, 0.05)
    first = cscopt.denoise(data, noise=0.05, channel_axis=0)
    last = cscopt.denoise(np.moveaxis(data, 0, -1), noise=0.05, channel_axis=-1, truth=np.moveaxis(colour, 0, -1))
    np.testing.assert_allclose(np.moveaxis(first.image, 0, -1), last.image, atol=1e-6)
    assert last.metrics["ssim"] > 0.7
    found = cscopt.denoise(torch.asarray(data[0]), noise=0.05, method="admm", tol=1e-3)
    ours = cscopt.denoise(data[0], noise=0.05, method="admm", tol=1e-3)
    np.testing.assert_allclose(found.image.numpy(), ours.image, atol=1e-3)


NOTHING = np.ones((16, 16), np.float32)
COLOUR = np.ones((16, 16, 2), np.float32)
STRIPES = NOTHING * np.arange(16, dtype=np.float32) % 3
SAME = FunctionOperator(lambda x: x, lambda y: y, (1, 16, 16), (1, 16, 16), 1.0)
WRONG = FunctionOperator(lambda x: x, lambda y: 1.1 * y, (1, 16, 16), (1, 16, 16), 1.0)


def test_black_pictures_stay_black():
    black, mask = 0 * NOTHING, np.eye(16)
    for found in (
        cscopt.inpaint(black, mask),
        cscopt.inpaint(black, mask, noise=0.1),
        cscopt.super_resolve(black, 2),
        cscopt.reconstruct_mri(black + 0j, mask),
        cscopt.reconstruct_mri(black + 0j, mask, noise=0.1),
    ):
        assert not found.image.any()
        assert found.solution.gap == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cscopt.denoise([1.0]), "image must be an array; got list"),
        (lambda: cscopt.denoise(np.ones((16, 16), int)), "image must be of real floating point"),
        (lambda: cscopt.denoise(NOTHING), "noise must be given: none is found"),
        (lambda: cscopt.denoise(NOTHING, noise=-1.0), "noise must be positive"),
        (lambda: cscopt.denoise(NOTHING * np.nan, noise=1.0), "image must be finite"),
        (lambda: cscopt.denoise(NOTHING, noise=1.0, channel_axis=2), "channel_axis must be an axis of the image"),
        (lambda: cscopt.denoise(NOTHING, noise=1.0, truth=NOTHING[1:]), "truth must have the image's shape"),
        (lambda: cscopt.denoise(NOTHING, noise=1.0, dictionary="nowhere"), "nowhere"),
        (lambda: cscopt.inpaint(NOTHING, NOTHING[:4]), "mask must have the image's shape"),
        (lambda: cscopt.inpaint(NOTHING, 0.5 * NOTHING), "mask must hold 0 and 1 alone"),
        (lambda: cscopt.inpaint(NOTHING, 0 * NOTHING), "mask must hold 0 and 1 alone, and a 1 somewhere"),
        (lambda: cscopt.denoise(NOTHING[0, 0], noise=1.0), "image must have pixels along some spatial axis"),
        (lambda: cscopt.denoise(NOTHING[:0], noise=1.0), r"image must have pixels .*got shape \(0, 16\)"),
        (lambda: cscopt.denoise(NOTHING, lam=np.ones(32)), r"lam must be a real number; got an array of shape \(32,"),
        (lambda: cscopt.denoise(NOTHING, lam=1.0, truth=[1]), "truth must be an array; got list"),
        (lambda: cscopt.denoise(NOTHING, lam=1.0, truth=NOTHING * np.nan), "truth must be finite; it contains NaN"),
        (lambda: cscopt.denoise(NOTHING, lam=1.0, truth=NOTHING.astype("u1")), "truth must be float32 .* got uint8"),
        (lambda: cscopt.denoise(NOTHING, lam=1.0, truth=NOTHING + 0j), "truth must be float32 or float64; got complex"),
        (lambda: cscopt.denoise(NOTHING, lam=1.0, noise=-5), "noise must be positive and finite; got -5"),
        (lambda: cscopt.inpaint(NOTHING, NOTHING, lam=1.0, noise=-5), "noise must be positive and finite; got -5"),
        (lambda: cscopt.deblur(NOTHING, np.ones((3, 3)), boundary=np.ones(2)), "boundary must be 'circular'"),
        (lambda: cscopt.deblur(NOTHING, [[1, 2], [3]]), "kernel must be an array of numbers"),
        (lambda: cscopt.super_resolve(NOTHING, 10**6), r"coding an image of 16000000 × 16000000 .* needs .* GiB"),
        (lambda: cscopt.super_resolve(NOTHING, 2, truth=NOTHING), r"truth must have the image's shape \(32, 32\)"),
        (lambda: cscopt.inpaint(COLOUR, COLOUR * [1, 0], channel_axis=-1), "mask must know a pixel of every channel"),
        (lambda: cscopt.deblur(NOTHING, np.ones((17, 3))), "kernel must not be larger than the image"),
        (lambda: cscopt.deblur(NOTHING, np.ones((3, 17)), boundary="none"), "kernel must not be larger than the image"),
        (lambda: cscopt.deblur(NOTHING, np.ones(3)), "kernel must have 2 axes"),
        (lambda: cscopt.super_resolve(NOTHING, 0), "scale must be at least 1"),
        (lambda: cscopt.reconstruct_mri(NOTHING, NOTHING), "data must be a complex array"),
        (lambda: cscopt.reconstruct_mri(NOTHING + 0j, NOTHING[:4]), r"data must have shape \(4, 16\)"),
        (lambda: cscopt.reconstruct_mri(NOTHING + 0j, 0 * NOTHING), "mask must sample at least one frequency"),
        (
            lambda: cscopt.reconstruct_ct(NOTHING, SAME, STRIPES, noise=1e-9, max_iter=1),
            "noise = 1e-09 means a residual of 1.6e-08: epsilon = 1.6e-08 was not reached",
        ),
        (lambda: cscopt.reconstruct_ct(NOTHING, None), "operator must be a LinearOperator .*got NoneType"),
        (lambda: cscopt.reconstruct_ct(NOTHING, WRONG), "first must be given where the operator is not a CT"),
        (lambda: cscopt.reconstruct_ct(NOTHING, WRONG, NOTHING.astype("u1")), "first must be float32, .* got uint8"),
        (
            lambda: cscopt.reconstruct_ct(NOTHING, WRONG, NOTHING, lam=1.0),
            "forward.adjoint must be .*dot test is off by",
        ),
        (
            lambda: cscopt.reconstruct_ct(NOTHING, WRONG, NOTHING, weights=-NOTHING),
            "weights must not be negative; its least entry is -1",
        ),
    ],
)
def test_refusals(call, message):
    with pytest.raises((ValueError, TypeError, FileNotFoundError, MemoryError), match=message):
        call()


def test_any_byte_order_serves(truth):
    """FITS files are big-endian."""
    small, known = truth[:24, :24], missing_pixels((24, 24), 0.3, 0)
    same = FunctionOperator(lambda x: x, lambda y: y, (1, 24, 24), (1, 24, 24), 1.0)
    for restore in (
        lambda a, t: cscopt.denoise(a, lam=0.1, truth=t),
        lambda a, t: cscopt.inpaint(a, known.astype(">f4"), lam=0.1, truth=t),
        lambda a, t: cscopt.reconstruct_ct(a, same, a, weights=a, lam=0.1, truth=t),
        lambda a, t: cscopt.reconstruct_mri((a + 0j).astype(a.dtype.byteorder + "c8"), known, lam=0.1, truth=t),
    ):
        found, expected = restore(small.astype(">f4"), small.astype(">f8")), restore(small, small)
        assert found.image.dtype.isnative
        np.testing.assert_array_equal(found.image, expected.image)
        assert found.metrics["psnr"] == pytest.approx(expected.metrics["psnr"], abs=1e-3)


def test_the_command(tmp_path, truth, capsys):
    io.save_image(tmp_path / "truth.png", truth)
    io.save_image(tmp_path / "noisy.png", noisy(truth, 0.1))
    known = missing_pixels(truth.shape, 0.5, 0)
    io.save_image(tmp_path / "mask.png", known.astype(float))
    np.save(tmp_path / "kernel.npy", gaussian_kernel(1.0))
    np.save(tmp_path / "words.npy", np.array(["a"]))
    mask = random_mask(truth.shape, 3, rng=0)
    np.save(tmp_path / "mask.npy", mask)
    np.save(tmp_path / "kspace.npy", MRI(mask).apply(truth[None, None].astype(np.complex64))[0, 0])

    def run(*arguments):
        words = [str(tmp_path / a) if "." in a and a[0].isalpha() else a for a in arguments]
        return main(["reconstruct", *words, "--max-iter", "60"])

    assert run("denoise", "noisy.png", "-o", "a.png", "--noise", "0.1", "--truth", "truth.png") == 0
    assert "psnr" in capsys.readouterr().out
    assert io.load_image(tmp_path / "a.png").shape == truth.shape
    assert run("inpaint", "truth.png", "-o", "b.npy", "--mask", "mask.png") == 0
    assert np.load(tmp_path / "b.npy").shape == truth.shape
    assert run("deblur", "noisy.png", "-o", "c.png", "--kernel", "kernel.npy") == 0
    assert run("super-resolve", "truth.png", "-o", "d.png", "--scale", "2") == 0
    assert io.load_image(tmp_path / "d.png").shape == (192, 192)
    assert run("mri", "kspace.npy", "-o", "e.npy", "--mask", "mask.npy") == 0
    assert np.iscomplexobj(np.load(tmp_path / "e.npy"))
    capsys.readouterr()
    for arguments, message in (
        (("sharpen", "truth.png", "-o", "x.png"), "task must be denoise, inpaint, deblur, super-resolve, mri or ct"),
        (("inpaint", "truth.png", "-o", "x.png"), "inpaint needs --mask"),
        (("mri", "mask.png", "-o", "x.png", "--mask", "mask.npy"), "data must be a complex array"),
        (("denoise", "none.png", "-o", "x.png"), "there is no file"),
        (("denoise", "noisy.png", "-o", "x.png", "--mask", "mask.png"), "denoise does not take --mask"),
        (("denoise", "noisy.png", "-o", "noisy.png"), "--output must not be a file that is read"),
        (("inpaint", "noisy.png", "-o", "x.png", "--mask", "kernel.npy"), "mask must hold 0 and 1 alone"),
        (("inpaint", "noisy.png", "-o", "x.png", "--mask", "words.npy"), "words.npy must hold numbers; it holds <U1"),
    ):
        assert run(*arguments) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "x.png").exists()


def test_the_command_reads_arrays_and_pictures_of_floats(tmp_path, truth, capsys):
    """.npz as .npy, and float TIFF in colour as the same values in an array."""
    import tifffile

    colour = np.moveaxis(noisy(np.stack([truth, truth[::-1], truth.T]), 0.1), 0, -1)[:32, :40]
    tifffile.imwrite(tmp_path / "colour.tif", colour, photometric="rgb")
    np.save(tmp_path / "colour.npy", colour)
    np.savez(tmp_path / "colour.npz", anything=colour)
    np.savez(tmp_path / "two.npz", a=colour, b=colour)
    np.savez(tmp_path / "objects.npz", a=np.array([None]))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "colour.npz").read_bytes()[:1000])
    (tmp_path / "cut.tif").write_bytes((tmp_path / "colour.tif").read_bytes()[:1000])

    def run(name, *more):
        return main(["reconstruct", "denoise", str(tmp_path / name), "-o", str(tmp_path / "out.npy"), *more])

    answers = []
    for name in ("colour.npy", "colour.npz", "colour.tif"):
        assert run(name, "--lam", "0.2") == 0
        answers.append(np.load(tmp_path / "out.npy"))
    np.testing.assert_array_equal(answers[1:], answers[:1] * 2)
    assert answers[0].shape == colour.shape
    capsys.readouterr()
    for name, message in (
        ("two.npz", "two.npz cannot be read as an array: a .npz must hold one array; it holds a, b"),
        ("objects.npz", "objects.npz cannot be read as an array: "),
        ("cut.npz", "cut.npz cannot be read as an array: "),
        ("cut.tif", "cut.tif cannot be read as an image ("),
    ):
        assert run(name) == 2
        assert message in capsys.readouterr().err


def test_the_command_knows_before_the_work_what_a_file_can_hold(tmp_path, truth, capsys, monkeypatch):
    """And takes a mask of 0 and 1 in eight bits for what it is."""
    for name, shape in (("line", (40,)), ("volume", (12, 12, 12)), ("two", (16, 16, 2)), ("one", (16, 16, 1))):
        np.save(tmp_path / f"{name}.npy", noisy(np.full(shape, 0.5, np.float32), 0.1))

    def run(name, output, *more, task="denoise"):
        return main(["reconstruct", task, str(tmp_path / name), "-o", str(tmp_path / output), *more])

    with monkeypatch.context() as patch:
        patch.setattr("cscopt.tasks.imaging.restore", None)
        for name, output, message in (
            ("line.npy", "out.png", "must be (H, W), or"),
            ("line.npy", "out.tif", "must be (H, W), or"),
            ("volume.npy", "out.png", "cannot hold a volume of shape (12, 12, 12); .npy and .tif can"),
            ("volume.npy", "out.jpg", "cannot hold a volume"),
            ("two.npy", "out.png", "of 1, 3 or 4 channels; got (16, 16, 2)"),
        ):
            assert run(name, output) == 2
            assert message in capsys.readouterr().err
    assert run("one.npy", "out.png", "--lam", "0.2") == 0
    assert io.load_image(tmp_path / "out.png").shape == (16, 16)
    io.save_image(tmp_path / "truth.png", truth)
    known = missing_pixels(truth.shape, 0.5, 0)
    for name, white in (("01.png", 1), ("0255.png", 255)):
        iio.imwrite(tmp_path / name, np.uint8(white) * known)
        target = name.replace(".png", ".npy")
        assert run("truth.png", target, "--mask", str(tmp_path / name), "--max-iter", "20", task="inpaint") == 0
    np.testing.assert_array_equal(np.load(tmp_path / "01.npy"), np.load(tmp_path / "0255.npy"))


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (5,)])
def test_a_sinogram_has_two_axes_and_is_not_empty(tmp_path, capsys, shape):
    np.save(tmp_path / "data.npy", np.ones(shape, np.float32))
    assert main(["reconstruct", "ct", str(tmp_path / "data.npy"), "-o", str(tmp_path / "out.npy")]) == 2
    assert "sinogram must be (angle, detector) and not empty; got shape" in capsys.readouterr().err


def test_metrics_of_mri_and_ct_do_not_depend_on_their_unit(rng):
    image, first, truth = rng.random((3, 16, 16))
    here, there = (judged(u * image, u * first, u * truth, None, pictures=False) for u in (1.0, 0.01))
    assert there == pytest.approx(here, rel=1e-9)
    assert judged(image, first, 0 * truth, None, pictures=False)["psnr"] < 20


def test_inpaint_refuses_what_is_not_finite_where_it_is_known(truth):
    known = missing_pixels(truth.shape, 0.5, 0)
    with pytest.raises(ValueError, match="image must be finite; it contains NaN"):
        cscopt.inpaint(np.where(known, np.nan, truth).astype(np.float32), known)


def test_a_constant_that_the_operator_does_not_see_is_not_made_up(truth):
    """A of it is zero, or rounding: a kernel whose sum is 5.6e-17, k-space without its origin."""
    edges = np.array([[0.1, 0.2, -0.3]])
    data = Blur((1, *truth.shape), edges).apply(truth[None, None].astype(float))[0, 0]
    found = cscopt.deblur(
        data + 0.01 * np.random.default_rng(0).standard_normal(data.shape), edges, noise=0.01, boundary="circular"
    )
    assert np.abs(found.image).max() < 5
    mask = np.ones((67, 61), bool)
    mask[33, 30] = False
    picture = truth[:67, :61].astype(np.complex64)
    found = cscopt.reconstruct_mri(MRI(mask).apply(picture[None, None])[0, 0], mask, max_iter=20)
    assert np.abs(found.image - (picture - picture.mean())).max() < 0.5


def test_mri_does_not_depend_on_the_unit_of_the_coils(truth):
    """Nor on how far Σ|s|² is from one: the first estimate is divided by it."""
    side = len(truth)
    ramp = np.linspace(0.2, 1, side)[:, None] * np.ones(side)
    coils, mask = np.stack([ramp, 1j * (1.2 - ramp)]), random_mask(truth.shape, 2, rng=0)
    answers = []
    for unit in (1.0, 10.0):
        data = MRI(mask, unit * coils).apply(truth[None, None].astype(complex))[0]
        answers.append(cscopt.reconstruct_mri(data, mask, unit * coils, truth=truth.astype(float), max_iter=60))
    np.testing.assert_allclose(answers[1].image, answers[0].image, atol=1e-6)
    assert answers[0].metrics["psnr"] > answers[0].metrics["psnr_first"] > 20


@pytest.mark.parametrize("kernel", [(4, 4), (3, 2), (5, 4)])
def test_the_valid_part_of_a_blur_by_an_even_kernel_lies_where_it_should(truth, kernel):
    """By the kernel that changes nothing."""
    same = np.zeros(kernel)
    same[tuple(k // 2 for k in kernel)] = 1
    camera = Blur((1, *truth.shape), same, "none")
    data, seen = camera.apply(truth[None, None].astype(float))[0, 0], truth[camera.seen]
    found = cscopt.deblur(data, same, lam=10.0, beta=1e-3, truth=seen.astype(float))
    inside = (slice(4, -4),) * 2
    np.testing.assert_allclose(found.image[inside], seen[inside], atol=0.02)


def test_the_command_keeps_units_or_says_that_it_does_not(tmp_path, truth, capsys):
    counts = 1000 * truth
    np.save(tmp_path / "counts.npy", counts)

    def run(target, *more, task="denoise", source="counts.npy"):
        return main(["reconstruct", task, str(tmp_path / source), "-o", str(tmp_path / target), *more])

    for target in ("a.npy", "a.tif", "a.png"):
        assert run(target, "--lam", "100") == 0
    assert "of the values were outside [0, 1] and are clipped" in capsys.readouterr().out
    np.testing.assert_array_equal(io.load_image(tmp_path / "a.tif"), np.load(tmp_path / "a.npy"))
    colour = np.stack([counts, counts, 0 * counts], axis=-1)[:40, :48]
    np.save(tmp_path / "colour.npy", colour)
    assert run("b.tif", "--lam", "100", source="colour.npy") == 0
    assert io.load_image(tmp_path / "b.tif").shape == colour.shape
    np.save(tmp_path / "volume.npy", counts.reshape(9, 32, 32))
    assert run("c.npy", "--lam", "100", source="volume.npy") == 2
    np.save(tmp_path / "small.npy", truth[:32, :32])
    assert run("d.npy", "--scale", "2", task="super-resolve", source="small.npy") == 0
    assert "fista, 100 iterations" in capsys.readouterr().out
    expected = cscopt.super_resolve(truth[:32, :32], 2)
    np.testing.assert_array_equal(np.load(tmp_path / "d.npy"), expected.image)
