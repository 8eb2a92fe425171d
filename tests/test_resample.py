"""Bicubic resampling: adjoint, norm, Pillow's kernel inside, MATLAB's borders, the published PSNRs."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cscopt import datasets, dot_test, metrics
from cscopt.backend import to_numpy
from cscopt.operators import Bicubic

SHARED = Path(__file__).parents[2] / "shared" / "data" / "sr"


@pytest.mark.parametrize("scale", [0.5, 1 / 3, 0.25, 0.4, 2, 3, 1.7])
def test_adjoint_and_norm(space, rng, scale):
    operator = Bicubic((2, 12, 17), scale)
    x, y = space.random(rng, 3, 2, 12, 17), space.random(rng, 3, *operator.output_shape)
    assert dot_test(operator, x, y) < (1e-5 if space.real == "float32" else 1e-12)
    assert operator.apply(x).dtype == x.dtype


def test_the_norm_is_the_largest_singular_value(rng):
    for scale, shape in ((0.5, (1, 9, 14)), (3, (1, 6, 5)), (1 / 3, (1, 10, 9))):
        operator = Bicubic(shape, scale)
        columns = [operator.apply(e.reshape(1, *shape)).ravel() for e in np.eye(np.prod(shape))]
        assert operator.norm == pytest.approx(np.linalg.norm(np.stack(columns), 2), rel=1e-12)


@pytest.mark.parametrize(("n", "out"), [(48, 24), (48, 16), (48, 12), (24, 48), (24, 72), (50, 35)])
def test_pillow_agrees_inside(rng, n, out):
    """Pillow has the same kernel, but renormalises at the border where MATLAB mirrors."""
    image = rng.uniform(0, 255, (n, n))
    ours = Bicubic((1, n, n), size=(out, out)).apply(image[None, None])[0, 0]
    theirs = np.asarray(Image.fromarray(image.astype(np.float32)).resize((out, out), Image.Resampling.BICUBIC))
    reach = int(np.ceil(2 * max(1, out / n))) + 1
    inside = (slice(reach, -reach),) * 2
    np.testing.assert_allclose(ours[inside], theirs[inside], atol=2e-3)
    assert np.abs(ours - theirs).max() > 0.1


def test_borders_are_mirrored(rng):
    """As MATLAB: the same as resampling the picture extended by its mirror image."""
    image = rng.standard_normal((1, 1, 12, 12))
    for scale in (0.5, 2):
        out = Bicubic((1, 12, 12), scale).apply(image)
        wide = np.pad(image, ((0, 0), (0, 0), (12, 12), (12, 12)), "symmetric")
        n = out.shape[-1]
        np.testing.assert_allclose(Bicubic((1, 36, 36), scale).apply(wide)[..., n : 2 * n, n : 2 * n], out, atol=1e-12)


def test_numbers_worked_out_by_hand():
    """Halving 1 2 3 4: weights k(1/4), k(3/4), k(5/4), k(7/4) on both sides, halved, over 3 2 1 | 1 2 3 4 | 4."""
    row = np.array([[[[1.0, 2.0, 3.0, 4.0]]]])
    half = Bicubic((1, 1, 4), size=(1, 2)).apply(row)[0, 0, 0]
    np.testing.assert_allclose(half, [1.4609375, 3.5390625], rtol=1e-12)
    assert half.sum() == pytest.approx(5.0)
    constant = Bicubic((1, 7, 9), 1 / 3).apply(np.ones((1, 1, 7, 9)))
    np.testing.assert_allclose(constant, 1)
    assert constant.shape == (1, 1, 3, 3)


def test_a_bundled_picture_guards_the_protocol():
    image = np.floor(datasets.picture("camera") * 255 + 0.5)[None, None].astype(np.float64)
    expected = {2: 29.894, 4: 26.170}
    for scale in (2, 4):
        down = Bicubic((1, 512, 512), 1 / scale)
        low = np.clip(np.round(down.apply(image)), 0, 255)
        up = np.clip(np.round(Bicubic(down.output_shape, scale).apply(low)), 0, 255)
        inside = (..., slice(scale, -scale), slice(scale, -scale))
        found = metrics.psnr(up[inside], image[inside], 255)
        assert found == pytest.approx(expected[scale], abs=0.01)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"scale": 0.5, "size": (3, 3)}, ValueError, "either scale or size"),
        ({}, ValueError, "either scale or size"),
        ({"scale": -1}, ValueError, "scale must be positive"),
        ({"scale": float("nan")}, ValueError, "scale must be a number"),
        ({"size": (0, 3)}, ValueError, "size must be at least 1"),
        ({"scale": "two"}, TypeError, "scale must be a real number"),
        ({"scale": 1e9}, MemoryError, r"resampling to 8e\+09 × 8e\+09 pixels needs 2.\d*e\+11 GiB, but .* are free"),
        ({"scale": 1e300}, MemoryError, "resampling to .* needs .* GiB"),
        ({"scale": 1e-30}, MemoryError, "resampling to 1 × 1 pixels needs .* GiB"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        Bicubic((1, 8, 8), **options)


def test_bad_images(rng):
    operator = Bicubic((1, 8, 8), 0.5)
    with pytest.raises(ValueError, match=r"image must be \(batch, \*\(1, 8, 8\)\)"):
        operator.apply(np.ones((1, 1, 8, 9)))
    with pytest.raises(TypeError, match="image must be float32"):
        operator.apply(np.ones((1, 1, 8, 8), np.uint8))
    with pytest.raises(ValueError, match="input_shape must be"):
        Bicubic((8, 8), 0.5)


def test_gradients_flow(rng):
    torch = pytest.importorskip("torch")
    operator = Bicubic((1, 6, 5), 0.5)
    x = torch.from_numpy(rng.standard_normal((1, 1, 6, 5))).requires_grad_()
    assert torch.autograd.gradcheck(operator.apply, (x,))
    assert to_numpy(operator.apply(x)).shape == (1, 1, 3, 3)
