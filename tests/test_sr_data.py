"""Training patches: exactly the protocol's, the same for a seed, resumable; folders and their broken pictures."""

import imageio.v3 as iio
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from cscopt import datasets  # noqa: E402
from learned.data import download, images  # noqa: E402
from learned.data.sr import Batches, SRPatches  # noqa: E402


@pytest.fixture
def folder(tmp_path, rng):
    smooth = [np.kron(rng.integers(0, 256, (12, 15, 3)), np.ones((5, 5, 1))).astype(np.uint8) for _ in range(2)]
    for name, image in zip(("one", "two"), smooth, strict=True):
        iio.imwrite(tmp_path / f"{name}.png", image)
    iio.imwrite(tmp_path / "grey.png", smooth[0][..., 0])
    return tmp_path


def find(patch, picture):
    """Where a patch lies in a picture."""
    view = np.lib.stride_tricks.sliding_window_view(picture, patch.shape)
    return np.argwhere((view == patch).all(axis=(2, 3)))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_interpolated_patches_are_the_protocols(tmp_path, rng, scale):
    picture = rng.integers(0, 256, (50, 61)).astype(np.uint8)
    iio.imwrite(tmp_path / "noise.png", picture)
    patches = SRPatches([tmp_path], [scale], patch=16, batch_size=24, shrink=[1.0])
    given, target, scales = (t.numpy() for t in patches[5])
    assert (scales == scale).all()
    border = 40
    wide = np.pad(picture, border, "symmetric")
    views = set()
    for one, original in zip(given[:, 0] * 255, np.rint(target[:, 0] * 255), strict=True):
        for turn in range(8):
            back = [np.rot90(a[:, ::-1] if turn >= 4 else a, -(turn % 4)) for a in (original, one)]
            places = find(back[0], picture)
            if len(places):
                break
        views.add(turn)
        (row, column) = places[0] + border
        errors = []
        for phase in np.ndindex(scale, scale):
            top, left = row - 6 * scale - phase[0], column - 6 * scale - phase[1]
            window = wide[top : top + 15 * scale + 16 // scale * scale, left : left + 15 * scale + 16 // scale * scale]
            up = images.resize(
                images.eight_bits(images.resize(images.crop_to_multiple(window, scale), 1 / scale)), scale
            )
            part = up[row - top : row - top + 16, column - left : column - left + 16]
            errors.append(np.abs(part - back[1]).max())
        assert min(errors) < 1e-2
    assert len(views) > 4


def test_low_resolution_patches_are_the_protocols(tmp_path, rng):
    picture = rng.integers(0, 256, (48, 56, 3)).astype(np.uint8)
    iio.imwrite(tmp_path / "noise.png", picture)
    patches = SRPatches([tmp_path], [2, 3], 8, 6, interpolate=False, colour=True, shrink=[1.0])
    seen = set()
    for n in range(6):
        given, target, scales = (t.numpy() for t in patches[n])
        scale = int(scales[0])
        seen.add(scale)
        assert given.shape == (6, 3, 8, 8)
        assert target.shape == (6, 3, 8 * scale, 8 * scale)
        for low, high in zip(given, target, strict=True):
            inner = images.resize(np.moveaxis(high * 255, 0, -1), 1 / scale)[2:-2, 2:-2]
            expected = images.eight_bits(inner)
            assert np.abs(np.moveaxis(low * 255, 0, -1)[2:-2, 2:-2] - expected).max() <= 1
    assert seen == {2, 3}


def test_batches_depend_on_seed_and_number_alone(folder):
    one, two, other = (SRPatches([folder], patch=16, batch_size=6, seed=s) for s in (3, 3, 4))
    two[0]
    for a, b in zip(one[7], two[7], strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(one[7][1], other[7][1])
    assert not torch.equal(one[7][1], one[8][1])
    assert sorted(one[0][2].tolist()) == [2, 2, 3, 3, 4, 4]


def test_a_loader_goes_on_where_it_stopped(folder):
    patches = SRPatches([folder], patch=16, batch_size=3)
    whole = list(Batches(patches, 0, 5))
    rest = list(Batches(patches, 3, 5, workers=2))
    assert len(whole) == 5
    assert len(Batches(patches, 3, 5)) == 5
    for a, b in zip(whole[3:], rest, strict=True):
        assert torch.equal(a[0], b[0])


def test_every_pixel_is_drawn(tmp_path):
    """Patches reach the corners of the picture, and all scaled sizes take part."""
    ramp = np.arange(20 * 20, dtype=np.int64).reshape(20, 20)
    iio.imwrite(tmp_path / "ramp.png", (ramp % 256).astype(np.uint8))
    patches = SRPatches([tmp_path], [2], patch=16, batch_size=200, shrink=[1.0, 0.8])
    assert [p.shape[0] - 2 * patches.border for p in patches.pictures] == [20, 16]
    target = np.rint(patches[0][1].numpy() * 255)
    corners = {float(c) for t in target for c in (t[0, 0, 0], t[0, 0, -1], t[0, -1, 0], t[0, -1, -1])}
    assert {float(ramp[0, 0] % 256), float(ramp[0, -1] % 256), float(ramp[-1, 0] % 256)} <= corners


def test_broken_and_small_pictures_are_named(folder):
    (folder / "broken.png").write_bytes(b"\x89PNG nothing")
    with pytest.warns(UserWarning, match=r"skipped: .*broken\.png cannot be read"):
        assert set(images.read_folder(folder)) == {"one.png", "two.png", "grey.png"}
    with pytest.raises(ValueError, match=r"broken\.png cannot be read"):
        SRPatches([folder], strict=True)
    (folder / "broken.png").unlink()
    iio.imwrite(folder / "tiny.png", np.zeros((10, 40), np.uint8))
    with pytest.warns(UserWarning, match=r"tiny\.png is 10×40, smaller than the patch of 16"):
        assert len(SRPatches([folder], patch=16, shrink=[1.0]).pictures) == 3
    with pytest.raises(ValueError, match=r"tiny\.png is 10×40, smaller than the patch of 16"):
        SRPatches([folder], patch=16, strict=True)
    with pytest.warns(UserWarning, match="smaller"), pytest.raises(ValueError, match="no picture is left to train on"):
        SRPatches([folder], patch=100)


def test_bad_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        images.read_folder(tmp_path / "none")
    with pytest.raises(ValueError, match="holds no picture"):
        images.read_folder(tmp_path)
    with pytest.raises(FileNotFoundError, match="not a folder, nor one of Set5"):
        download.locate("Set99")
    with pytest.raises(ValueError, match="name must be one of Set5"):
        download.download("Set99")
    with pytest.raises(ValueError, match="shrink"):
        SRPatches(["bundled"], shrink=[2.0])


def test_luma_is_matlabs():
    """rgb2ycbcr of black, white, red, green and blue."""
    colours = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    assert images.luma(colours).tolist() == [[16, 235, 81, 145, 41]]
    assert images.to_ycbcr(colours)[0, 0].tolist() == [16, 128, 128]
    picture = datasets.picture("coffee", grey=False)
    picture = (picture * 255).round().astype(np.uint8)[:50, :50]
    np.testing.assert_array_equal(images.to_rgb(images.to_ycbcr(picture)), picture)


def test_downloads_are_checked_and_unpacked(tmp_path, monkeypatch):
    """With an archive on disk in the place of a server."""
    import tarfile

    monkeypatch.setenv("CSCOPT_CACHE_DIR", str(tmp_path / "cache"))
    iio.imwrite(tmp_path / "a.png", np.zeros((4, 4), np.uint8))
    archive = tmp_path / "benchmark.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(tmp_path / "a.png", "benchmark/Toy/HR/a.png")
        tar.add(tmp_path / "a.png", "benchmark/Other/HR/b.png")
    pooch = pytest.importorskip("pooch")
    monkeypatch.setattr(pooch, "retrieve", fake_retrieve(archive, pooch))
    good = "sha256:" + pooch.file_hash(str(archive))
    monkeypatch.setitem(download.SOURCES, "Toy", download.Source("https://x/benchmark.tar", good, "Toy/HR"))
    with pytest.raises(FileNotFoundError, match="learned download Toy"):
        download.locate("Toy")
    assert [p.name for p in download.download("Toy").iterdir()] == ["a.png"]
    assert download.locate("Toy") == download.download("Toy")
    bad = download.Source("https://x/benchmark.tar", "sha256:" + "0" * 64, "Other/HR")
    monkeypatch.setitem(download.SOURCES, "Bad", bad)
    with pytest.raises(ValueError, match="hash"):
        download.download("Bad")
    unknown = download.Source("https://x/benchmark.tar", None, "Other/HR")
    monkeypatch.setitem(download.SOURCES, "Unknown", unknown)
    download.download("Unknown")
    with tarfile.open(archive, "a") as tar:
        tar.add(tmp_path / "a.png", "benchmark/More/HR/c.png")
    monkeypatch.setitem(download.SOURCES, "Later", unknown._replace(inside="More/HR"))
    with pytest.raises(ValueError, match="hash"):  # not what the first download was
        download.download("Later")


def fake_retrieve(archive, pooch):
    def retrieve(url, known_hash, fname, path, progressbar):
        target = path / fname
        target.write_bytes(archive.read_bytes())
        if known_hash is not None and pooch.file_hash(str(target), known_hash.partition(":")[0]) != known_hash[7:]:
            raise ValueError("the hash differs")
        return str(target)

    return retrieve
