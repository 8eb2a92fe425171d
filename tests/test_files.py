"""Files: written whole or not at all, read without running code, refused in one sentence."""

import json
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest

from cscopt import ConvDictionary, SparseCodes, datasets, io, lowpass


def test_dictionary_round_trip(tmp_path, rng):
    bank = ConvDictionary(rng.standard_normal((3, 2, 4, 5)).astype(np.float32), {"source": "a test, ‖d‖ = 1"})
    bank.save(tmp_path / "bank.safetensors")
    back = ConvDictionary.load(tmp_path / "bank.safetensors")
    np.testing.assert_array_equal(back.filters, bank.filters)
    assert back.provenance == bank.provenance
    assert back.dtype == np.float32
    assert [p.name for p in tmp_path.iterdir()] == ["bank.safetensors"]


def test_shipped_dictionaries_load_by_name():
    assert "natural-8x8x32" in io.shipped()
    for name in io.shipped():
        bank = ConvDictionary.load(name)
        np.testing.assert_allclose(bank.norms(), 1, rtol=1e-5)
        assert {"engine", "data", "data_sha256", "lam", "beta", "seed", "history", "held_out"} <= set(bank.provenance)
    with pytest.raises(FileNotFoundError, match="there is no dictionary 'x': neither a file nor one of natural"):
        ConvDictionary.load("x")


def test_files_that_are_no_dictionaries(tmp_path, rng):
    path = tmp_path / "bank.safetensors"
    ConvDictionary(rng.standard_normal((3, 1, 4, 4))).save(path)
    whole = path.read_bytes()
    for cut in (0, 4, 40, len(whole) - 7):
        (tmp_path / "cut.safetensors").write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"cut.safetensors is not a readable safetensors file"):
            ConvDictionary.load(tmp_path / "cut.safetensors")
    (tmp_path / "pickle.safetensors").write_bytes(b"\x80\x04cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(ValueError, match="is not a readable safetensors file"):
        ConvDictionary.load(tmp_path / "pickle.safetensors")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        ConvDictionary.load(tmp_path / "absent.safetensors")
    size = struct.unpack("<Q", whole[:8])[0]
    header = json.loads(whole[8 : 8 + size])
    for value, message in (("cscopt-dictionary-9", "was made by a newer cscopt"), ("other-1", "is not a dictionary")):
        header["__metadata__"]["format"] = value
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        (tmp_path / "other.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + whole[8 + size :])
        with pytest.raises(ValueError, match=message):
            ConvDictionary.load(tmp_path / "other.safetensors")
    io.save_tensors(tmp_path / "zero.safetensors", {"filters": np.zeros((2, 1, 3))}, {"format": "cscopt-dictionary-1"})
    with pytest.raises(ValueError, match="holds no usable dictionary: filters must not be zero"):
        ConvDictionary.load(tmp_path / "zero.safetensors")


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_files_are_readable_as_this_process_has_it(tmp_path, umask):
    """Also those that safetensors writes, which it gives to the owner alone."""
    before = os.umask(umask)
    try:
        io.save_tensors(tmp_path / "a.safetensors", {"x": np.ones(2)}, {})
        with io.replacing(tmp_path / "b.txt") as temporary:
            temporary.write_text("text")
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o666 & ~umask}


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    def write():
        with io.replacing(path) as temporary:
            temporary.write_text("half")
            monkeypatch.setattr(io.os, "replace", fail)

    with pytest.raises(OSError, match="No space"):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileNotFoundError, match="does not exist"), io.replacing(tmp_path / "no" / "file"):
        pass
    with pytest.raises(IsADirectoryError, match="it is a folder"), io.replacing(tmp_path):
        pass


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_sparse_codes_round_trip(tmp_path, rng, dtype):
    dense = rng.standard_normal((2, 3, 7, 5)) + (1j * rng.standard_normal((2, 3, 7, 5)) if dtype[0] == "c" else 0)
    dense = (dense * (rng.random(dense.shape) > 0.9)).astype(dtype)
    codes = SparseCodes.from_dense(dense)
    codes.save(tmp_path / "codes.safetensors", {"lam": "0.1"})
    back = SparseCodes.load(tmp_path / "codes.safetensors")
    np.testing.assert_array_equal(back.to_dense(), dense)
    assert back.values.dtype == dtype
    assert len(back) == np.count_nonzero(dense)
    assert back.density == len(back) / dense.size
    np.testing.assert_array_equal(back.to_scipy().toarray(), dense.reshape(6, 35))


def test_sparse_codes_that_do_not_fit_a_dictionary():
    bank = ConvDictionary(np.eye(9).reshape((9, 1, 3, 3)))
    for shape in ((1, 9, 8), (1, 9, 8, 8, 8), (9,), (1, 8, 8, 8)):
        codes = SparseCodes(np.array([0]), np.ones(1), shape)
        with pytest.raises(ValueError, match="with 2 spatial axes and a multiple of 9 maps; got shape"):
            codes.synthesize(bank)
    with pytest.raises(ValueError, match=r"codes must be \(batch, maps, \*space\) here; got shape \(9,\)"):
        SparseCodes(np.array([0]), np.ones(1), (9,)).to_scipy()
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"sparse codes need filters in a NumPy array .*; got torch\.Tensor"):
        SparseCodes(np.array([0]), np.ones(1), (1, 9, 8, 8)).synthesize(
            ConvDictionary(torch.eye(9).reshape(9, 1, 3, 3))
        )


def test_bad_sparse_codes(tmp_path):
    one = np.ones(2)
    for arguments, message in (
        ((np.array([1, 0]), one, (1, 1, 4)), "index must increase"),
        ((np.array([1, 4]), one, (1, 1, 4)), "lie inside"),
        ((np.array([1]), one, (1, 1, 4)), "index must be int64 of the shape of values"),
        ((np.array([1.0, 2.0]), one, (1, 1, 4)), "index must be int64"),
        ((np.array([0, 1]), one, (0, 3)), "shape must be at least 1; got 0"),
        ((np.array([0, 1]), one, (-1, 3)), "shape must be at least 1; got -1"),
        ((np.array([0, 1]), one, 3), "shape must be a tuple of extents; got 3"),
    ):
        with pytest.raises(ValueError, match=message):
            SparseCodes(*arguments)
    io.save_tensors(tmp_path / "x.safetensors", {"a": one}, {})
    with pytest.raises(ValueError, match="holds no codes"):
        SparseCodes.load(tmp_path / "x.safetensors")


def test_images(tmp_path, rng):
    grey = rng.integers(0, 256, (9, 7)) / 255
    io.save_image(tmp_path / "a.png", grey)
    back = io.load_image(tmp_path / "a.png")
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, grey, atol=1e-6)
    for shape in ((9, 7, 3), (9, 7, 4)):
        io.save_image(tmp_path / "b.png", rng.random(shape))
        assert io.load_image(tmp_path / "b.png").shape == (9, 7, 3)
    from PIL import Image

    Image.fromarray(rng.integers(0, 2**16, (9, 7)).astype(np.uint16)).save(tmp_path / "deep.png")
    assert io.load_image(tmp_path / "deep.png").max() <= 1
    Image.new("CMYK", (6, 5), (0, 0, 0, 255)).save(tmp_path / "ink.jpg")
    assert io.load_image(tmp_path / "ink.jpg").max() < 0.1
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("no picture")
    for name in ("cut.png", "text.png"):
        with pytest.raises(ValueError, match=f"{name} cannot be read as an image"):
            io.load_image(tmp_path / name)
    with pytest.raises(ValueError, match="must end in one of"):
        io.save_image(tmp_path / "a.xyz", grey)


def test_tiff_files_of_floats(rng, tmp_path):
    """In grey and colour, in every precision, as they are."""
    import tifffile

    for shape in ((9, 7), (9, 7, 3)):
        for dtype in ("float16", "float32", "float64"):
            values = 3 * rng.standard_normal(shape).astype(dtype)
            tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb" if len(shape) == 3 else "minisblack")
            found = io.load_image(tmp_path / "a.tif")
            assert found.dtype == np.float32
            np.testing.assert_array_equal(found, values.astype(np.float32))
    whole = (tmp_path / "a.tif").read_bytes()
    for keep in (0, 5, 100, len(whole) // 2):
        (tmp_path / "cut.tif").write_bytes(whole[:keep])
        with pytest.raises(ValueError, match=r"cut\.tif cannot be read as an image"):
            io.load_image(tmp_path / "cut.tif")
    tifffile.imwrite(tmp_path / "pages.tif", rng.integers(0, 255, (4, 9, 7), np.uint8), photometric="minisblack")
    with pytest.raises(ValueError, match=r"pages\.tif must hold one image; it holds 4"):
        io.load_image(tmp_path / "pages.tif")
    tifffile.imwrite(tmp_path / "b.tif", np.ones((9, 7), np.complex64))
    with pytest.raises(ValueError, match=r"b\.tif must hold unsigned integers or floats; it holds complex64"):
        io.load_image(tmp_path / "b.tif")


BITS = """
import hashlib
import numpy as np
from cscopt import lowpass

image = np.random.default_rng(0).standard_normal((2, 1, 160, 160))
for dtype in ("float32", "float64", "complex64"):
    for part in lowpass.split(image.astype(dtype)):
        print(hashlib.sha256(part.tobytes()).hexdigest())
"""


def test_the_low_pass_is_the_same_in_every_process(tmp_path):
    """States of learners are told apart by the bits of their images, on computers that know no FFT plans, too."""
    found = set()
    for folder, threads in (("first", "1"), ("second", "1"), ("third", "2")):
        environment = {**os.environ, "CSCOPT_CACHE_DIR": str(tmp_path / folder), "CSCOPT_NUM_THREADS": threads}
        command = [sys.executable, "-c", BITS]
        found.add(subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE).stdout)
    assert len(found) == 1


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("space", [(40,), (21, 34), (5, 6, 7)])
def test_the_low_pass_keeps_the_dtype_and_solves_its_equation(space, dtype, rng):
    """(I + β ∇ᴴ∇) x_low = image, circularly; a β of NumPy does not change the dtype."""
    image = rng.standard_normal((2, 3, *space)) + (1j * rng.standard_normal((2, 3, *space)) if dtype[0] == "c" else 0)
    image = image.astype(dtype)
    low, high = lowpass.split(image, np.float64(3.0), padding=0)
    assert low.dtype == high.dtype == image.dtype
    assert low.shape == high.shape == image.shape
    applied = low
    for axis in range(2, image.ndim):
        applied = applied + 3 * (2 * low - np.roll(low, 1, axis) - np.roll(low, -1, axis))
    np.testing.assert_allclose(applied, image, atol=1e-5 if image.real.dtype == np.float32 else 1e-12)
    np.testing.assert_allclose(low + high, image, atol=1e-6)


def test_grey_is_the_luma_of_scikit_image():
    color = pytest.importorskip("skimage.color")
    picture = datasets.picture("astronaut", grey=False)
    grey = datasets.picture("astronaut")
    assert grey.dtype == np.float32
    np.testing.assert_allclose(grey, color.rgb2gray(picture), rtol=1e-6, atol=1e-7)


def test_a_link_is_written_through(tmp_path):
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "a.safetensors", tmp_path / "b.safetensors"
    link.symlink_to(target)
    for value in (1.0, 2.0):
        io.save_tensors(link, {"x": np.full(3, value)}, {})
        assert link.is_symlink()
        np.testing.assert_array_equal(io.load_tensors(target)[0]["x"], value)


def test_colour_in_16_bits_keeps_them_or_is_refused(tmp_path, rng):
    """Pillow would give eight without a word; grey it reads whole."""
    import tifffile

    deep = rng.integers(0, 1 << 16, (6, 7, 3), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "deep.tif", deep, photometric="rgb")
    np.testing.assert_array_equal(io.load_image(tmp_path / "deep.tif"), deep / np.float32(65535))
    for kind, image in ((2, deep), (4, deep[..., :2])):
        (tmp_path / "deep.png").write_bytes(_png(kind, image))
        with pytest.raises(ValueError, match="holds colour or transparency in 16 bits, which is read of TIFF files"):
            io.load_image(tmp_path / "deep.png")
    (tmp_path / "grey.png").write_bytes(_png(0, deep[..., :1]))
    np.testing.assert_array_equal(io.load_image(tmp_path / "grey.png"), deep[..., 0] / np.float32(65535))


def _png(kind, image):
    """A PNG of 16 bits: a header, rows without a filter, an end."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", image.shape[1], image.shape[0], 16, kind, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in image)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def test_photographs_are_turned_upright(tmp_path, rng):
    from PIL import Image

    picture = Image.fromarray(np.kron(rng.integers(0, 256, (3, 2)), np.ones((8, 8))).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise
    picture.save(tmp_path / "photo.png", exif=exif)
    np.testing.assert_allclose(
        io.load_image(tmp_path / "photo.png"), np.rot90(np.asarray(picture), -1) / 255, rtol=1e-6
    )


@pytest.mark.parametrize("shape", [(5,), (5, 5, 2), (3, 3, 3, 3)])
def test_pictures_have_a_shape(tmp_path, shape):
    with pytest.raises(ValueError, match=r"must be \(H, W\), or"):
        io.save_image(tmp_path / "x.png", np.zeros(shape))
    assert not list(tmp_path.iterdir())
