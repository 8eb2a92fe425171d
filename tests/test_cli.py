"""The command line as a user meets it."""

import numpy as np
import pytest

from cscopt import ConvDictionary, SparseCodes, datasets, io
from cscopt.cli import main


@pytest.fixture
def image(tmp_path, rng):
    values = np.clip(0.5 + 0.2 * rng.standard_normal((40, 36)), 0, 1)
    io.save_image(tmp_path / "image.png", values)
    return tmp_path / "image.png"


def test_code_writes_codes_and_a_figure(tmp_path, image, capsys):
    arguments = ["code", str(image), "--lam", "0.1", "--method", "fista", "--tol", "1e-2"]
    targets = ["-o", str(tmp_path / "codes.safetensors"), "--figure", str(tmp_path / "out.png")]
    assert main([*arguments, *targets]) == 0
    assert "converged" in capsys.readouterr().out
    codes = SparseCodes.load(tmp_path / "codes.safetensors")
    assert codes.shape == (1, 32, 40, 36)
    assert 0 < len(codes) < 40 * 36 * 4
    reconstruction = ConvDictionary.load("natural-8x8x32").synthesize(codes.to_dense())[0, 0]
    truth = io.load_image(image)
    assert np.corrcoef(reconstruction.ravel(), (truth - truth.mean()).ravel())[0, 1] > 0.8
    assert io.load_image(tmp_path / "out.png").ndim == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["codes.safetensors", "image.png", "out.png"]


def test_code_in_colour_without_low_pass(tmp_path, rng):
    io.save_image(tmp_path / "c.png", rng.random((24, 20, 3)))
    target = tmp_path / "codes.safetensors"
    assert main(["code", str(tmp_path / "c.png"), "--lowpass", "0", "--max-iter", "5", "-o", str(target)]) == 0
    assert SparseCodes.load(target).shape == (1, 96, 24, 20)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--lam", "-1"], "lam must be positive"),
        (["--method", "newton"], "method must be 'auto'"),
        (["--dictionary", "nothing"], "there is no dictionary 'nothing'"),
        (["--boundary", "wrap"], "boundary must be"),
        (["-o", "codes.npy"], "codes.npy must end in .safetensors"),
        (["-o", "/no/such/folder/codes.safetensors"], "the folder /no/such/folder does not exist"),
        (["--figure", "fig"], "fig must end in .png, .jpg, .pdf or .svg"),
        (["--figure", "/tmp"], "must end in"),
        (["--lowpass", "-2"], "beta must be finite and not negative"),
        (["--tol", "-1"], "tol must be finite and not negative"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, image, capsys, changes, message):
    arguments = [
        "code",
        str(image),
        *(changes if "-o" in changes else ["-o", str(tmp_path / "o.safetensors"), *changes]),
    ]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["image.png"]


def test_missing_and_broken_images(tmp_path, capsys):
    assert main(["code", str(tmp_path / "none.png"), "-o", str(tmp_path / "o.safetensors")]) == 2
    assert "there is no file" in capsys.readouterr().err
    (tmp_path / "bad.png").write_text("x")
    assert main(["code", str(tmp_path / "bad.png"), "-o", str(tmp_path / "o.safetensors")]) == 2
    assert "cannot be read as an image" in capsys.readouterr().err
    assert main(["code", str(tmp_path / "bad.png")]) == 2
    assert "needs something to write" in capsys.readouterr().err


def test_help_says_what_each_command_does(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    for words in (
        "demo Code a photograph",
        "code Code an image",
        "reconstruct Restore a picture",
        "bank Fill a folder",
        "info Versions",
    ):
        assert words in text
    with pytest.raises(SystemExit, match="0"):
        main(["bank", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for words in ("build Learn what", "list Print a line", "show Print the", "verify Read every", "report Write one"):
        assert words in text


def test_info(capsys):
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    for word in ("numpy", "threads", "FFT", "GPUs", "natural-8x8x32", "extra sporco"):
        assert word in text


@pytest.mark.slow
def test_demo(tmp_path, capsys, monkeypatch):
    """On a part of its picture, a seventh: ISTA's iterations on the whole of it take a minute."""
    part = datasets.picture("camera")[80:272, 160:352]
    monkeypatch.setattr(datasets, "picture", {"camera": part}.__getitem__)
    assert main(["demo", "-o", str(tmp_path / "demo.png"), "--tol", "1e-2"]) == 0
    out = capsys.readouterr().out
    for word in ("camera, 192×192", "working-set", "admm", "fista", "ista", "non-zeros", "figure:"):
        assert word in out
    assert io.load_image(tmp_path / "demo.png").shape[2] == 3
    assert main(["demo", "-o", str(tmp_path / "no" / "demo.png")]) == 2


def test_code_overwrites_nothing_that_it_reads(tmp_path, image, capsys, rng):
    mine = tmp_path / "mine.safetensors"
    ConvDictionary(rng.standard_normal((3, 1, 4, 4))).save(mine)
    before = mine.read_bytes()
    given = ["code", str(image), "--dictionary", str(mine), "--lam", "0.1"]
    for more in (["-o", str(mine)], ["--figure", str(image)]):
        assert main([*given, *more]) == 2
        assert "must not be a file that is read" in capsys.readouterr().err
    assert mine.read_bytes() == before
