"""Specs of banks: their data, their grid, and what bad ones get."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from bank_cases import written

from cscopt import io, lowpass
from cscopt.bank import Data, Samples, Spec
from cscopt.bank.reading import mapping
from cscopt.bank.spec import choose
from cscopt.cli import main


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"holduot": 1}, "spec.yaml has no 'holduot'; did you mean 'holdout'?"),
        ({"data": {"npz": "images.npz", "kee": "x"}}, "data has no 'kee'; did you mean 'key'?"),
        ({"engine": "onlin"}, "engine has no 'onlin'; did you mean 'online'?"),
        (
            {"engine": {"name": "online", "bath_size": 2}},
            "engine 'online' has no 'bath_size'; did you mean 'batch_size'?",
        ),
        ({"engine": {"constraint": {"zero-mean": True}}}, "constraint has no 'zero-mean'; did you mean 'zero_mean'?"),
        ({"grid": {"filters": 3}}, "grid has no 'filters'; did you mean 'n_filters'?"),
        ({"grid": {"n_filters": 3}}, "grid must have the key 'support'"),
        ({"grid": {"n_filters": 3, "support": 3, "lam": -1, "beta": 1}}, "lam must be positive"),
        ({"grid": {"n_filters": 3, "support": 3, "lam": 1, "beta": -1}}, "beta must be finite and not negative"),
        ({"grid": {"n_filters": 0, "support": 3, "lam": 1, "beta": 1}}, "n_filters must be at least 1"),
        ({"grid": {"n_filters": 3, "support": [3, 19], "lam": 1, "beta": 1}}, "no smaller than the support (19, 19)"),
        ({"grid": {"n_filters": 3, "support": [[3]], "lam": 1, "beta": 1}}, "support must have 2 axes"),
        ({"holdout": 5}, "holdout leaves no image to learn from"),
        (
            {"data": {"skimage": ["coins"], "tile": 64}, "holdout": 0.2},
            "no image to learn from: 0.2 of 1 images, which",
        ),
        ({"data": {}}, "data must name one of folder, npz and skimage"),
        ({"data": {"folder": "."}}, "holds no picture"),
        ({"data": {"folder": "nowhere"}}, "there is no folder"),
        ({"data": {"npz": "nothing.npz"}}, "there is no file"),
        ({"data": {"npz": "spec.yaml"}}, "is not a readable .npz file"),
        ({"data": {"npz": "images.npz", "key": "other"}}, "data's key must be one of the arrays of"),
        ({"data": {"npz": "images.npz", "pairs": True}}, "data's pairs needs a last axis of two"),
        ({"data": {"skimage": ["lena"]}}, "name must be"),
        ({"engine": {"batch_size": 0}}, "batch_size must be at least 1"),
        ({"engine": {"warm": "no"}}, "warm must be True or False; got 'no'"),
        ({"data": {"npz": "images.npz", "pairs": "no"}}, "data's pairs must be True or False; got 'no'"),
    ],
)
def test_bad_specs_are_one_sentence_and_change_nothing(tmp_path, spec, capsys, changes, message):
    written(tmp_path, **changes)
    assert main(["bank", "build", str(spec), "-o", str(tmp_path / "bank")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "bank").exists()


def test_yaml_is_read_as_one_expects(tmp_path, spec, capsys):
    text = spec.read_text()
    for given, value in {"1e-3": 1e-3, "1E3": 1e3, "-.5e-1": -0.05, "1.e2": 100.0, "e1": "e1", "1e": "1e"}.items():
        spec.write_text(f"a: {given}")
        assert mapping(spec) == {"a": value}
    spec.write_text(f"{text}\nseed: 1\nseed: 2\n")
    assert main(["bank", "build", str(spec), "-o", str(tmp_path / "bank")]) == 2
    assert "'seed' stands twice" in capsys.readouterr().err
    nested = "base: &b {a: 1, c: 1}\nx:\n  y: &m {<<: *b, a: 2}\ntop: {<<: *m}"
    spec.write_text(nested)
    assert mapping(spec)["top"] == {"a": 2, "c": 1}
    for unreadable in ("a: !!map 5", "a: [", "a: " + 3000 * "["):
        spec.write_text(unreadable)
        with pytest.raises(ValueError, match=r"spec\.yaml is not readable YAML"):
            mapping(spec)
    spec.write_text("- 1")
    with pytest.raises(TypeError, match="must hold a mapping; it holds list"):
        mapping(spec)


def test_a_bank_is_no_file(tmp_path, spec, capsys):
    (tmp_path / "bank").write_text("")
    assert main(["bank", "build", str(spec), "-o", str(tmp_path / "bank")]) == 2
    assert "a bank is a folder" in capsys.readouterr().err


def test_bad_data(tmp_path, rng):
    images = rng.standard_normal((2, 9, 9))
    images[1, 3, 3] = np.nan
    np.savez(tmp_path / "nan.npz", a=images)
    with pytest.raises(ValueError, match=r"image 1 of .*nan.npz must be finite; it contains NaN"):
        Data(npz=str(tmp_path / "nan.npz")).images()
    np.savez(tmp_path / "complex.npz", a=1j * np.ones((2, 9, 9)))
    with pytest.raises(ValueError, match=r"is complex: data's part must be one of magnitude, complex"):
        Data(npz=str(tmp_path / "complex.npz")).images()
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="cannot be read as an image"):
        Data(folder=str(tmp_path / "pictures")).images()
    io.save_image(tmp_path / "pictures" / "a.png", rng.random((9, 9)))
    with pytest.raises(ValueError, match=r"needs pictures of three channels; .*a.png is grey"):
        Data(folder=str(tmp_path / "pictures"), colour=True).images()


def test_data(tmp_path, rng):
    pairs = rng.integers(-100, 100, (3, 7, 8, 2)).astype(np.int16)
    np.savez(tmp_path / "mr.npz", slices=pairs)
    source = Data(npz=str(tmp_path / "mr.npz"), pairs=True, part="magnitude", divide=10)
    np.testing.assert_allclose(source.images()[1][0], np.hypot(*np.moveaxis(pairs[1], -1, 0)) / 10, rtol=1e-6)
    assert Data(npz=str(tmp_path / "mr.npz"), pairs=True, part="complex").images()[0].dtype == np.complex64
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, shape in (("b", (20, 31, 3)), ("a", (9, 12)), ("c", (16, 16)), ("d", (16, 17))):
        io.save_image(folder / f"{name}.png", rng.random(shape))
    mixed = Samples.of(Data(folder=str(folder), tile=10), 0.25)
    assert [x.shape for x in mixed.training] == [(1, 9, 12), *[(1, 10, 10)] * 7]
    assert [x.shape for x in mixed.held_out] == [(1, 10, 10)]
    assert Samples.of(Data(folder=str(folder), tile=10), 0.25).sha256 == mixed.sha256
    assert Samples.of(Data(folder=str(folder)), 1).sha256 != mixed.sha256
    for part, count in ((0.0, 0), (0.01, 1), (0.12, 1), (0.4, 2), (0.9, 4)):
        if count < 4:
            assert len(Samples.of(Data(folder=str(folder)), part).held_out) == count
        else:
            with pytest.raises(ValueError, match=r"holdout leaves no image to learn from: 0\.9 of 4 images"):
                Samples.of(Data(folder=str(folder)), part)
    high = mixed.high_passed(5.0).training[0]
    np.testing.assert_allclose(high, lowpass.split(mixed.training[0][None], 5.0, 9)[1][0])
    assert [x.shape[1] for x in Data(folder=str(folder), at_most=2).images()] == [9, 16]


def test_cases_are_chosen_by_number_and_attribute(tmp_path, spec):
    given = Spec.read(spec)
    cases = given.cases(Samples.of(given.data, 1))
    assert [(c.n_filters, c.lam) for c in cases] == [(2, 0.5), (2, 1.0), (3, 0.5), (3, 1.0)]
    assert len({c.name for c in cases}) == 4
    assert choose(cases, ["2-3"]) == cases[1:3]
    assert choose(cases, ["n_filters=3", "support=3"]) == cases[2:]
    assert choose(cases, ["1", "2", "3", "lam=1", "support=3x3"]) == [cases[1]]
    for bad, message in (
        (["5"], "cases must be numbers from 1 to 4"),
        (["lamb=1"], "did you mean 'lam'"),
        (["all"], "cases must be numbers, ranges or attribute=value"),
        (["lam=7"], "cases must choose at least one of 4"),
    ):
        with pytest.raises(ValueError, match=message):
            choose(cases, bad)
    moved = Spec.read(written(tmp_path, max_epochs=3)).cases(Samples.of(given.data, 1))
    assert not {c.name for c in cases} & {c.name for c in moved}
    shutil.move(tmp_path / "images.npz", tmp_path / "elsewhere.npz")
    assert Spec.read(spec, str(tmp_path / "elsewhere.npz")).data.images()[0].shape == (1, 20, 18)


def test_specs_that_come_with_cscopt():
    folder = Path(__file__).parents[1] / "specs"
    spec = Spec.read(folder / "cdl-lambda.yaml")
    samples = Samples([np.zeros((1, 16, 16), np.float32)], [], "0")
    assert len({case.name for case in spec.cases(samples)}) == 96
    natural = Spec.read(folder / "natural.yaml")
    assert [case.size for case in natural.cases(samples)] == ["8x8x32", "8x8x64", "8x8x96", "12x12x64"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": {"npz": 5}}, "data's npz must be a path; got 5"),
        ({"data": {"folder": ["a"]}}, r"data's folder must be a path; got \['a'\]"),
        ({"data": {"skimage": 3}}, "data's skimage must be a list of names; got 3"),
        ({"data": {"skimage": ["camera", 3]}}, r"data's skimage must be a list of names; got \['camera', 3\]"),
        ({"data": {"npz": "images.npz", "key": 1}}, "data's key must be the name of an array; got 1"),
        ({"grid": []}, r"grid must be a mapping, or a list of one or more, of n_filters.*; got \[\]"),
        ({"grid": {"n_filters": 2, "support": 3, "lam": [], "beta": 0}}, r"grid's lam must have at least one value"),
        ({"engine": {"constraint": {"window": [[True], [True, False]]}}}, "window must be an array of bool; its rows"),
    ],
)
def test_values_of_another_kind_are_named_with_their_key(tmp_path, rng, change, message):
    np.savez(tmp_path / "images.npz", images=rng.random((2, 8, 8)))
    with pytest.raises((TypeError, ValueError), match=message):
        Spec.read(written(tmp_path, **change)).cases(Samples([rng.random((1, 8, 8))], [], ""))


def test_data_elsewhere_are_of_the_specs_kind(tmp_path, spec, capsys):
    (tmp_path / "pictures").mkdir()
    arguments = ["bank", "build", str(spec), "-o", str(tmp_path / "bank"), "--data"]
    assert main([*arguments, str(tmp_path / "pictures")]) == 2
    assert "--data must be an .npz file, as what stands in the spec; got" in capsys.readouterr().err
    written(tmp_path, data={"folder": "pictures"})
    assert main([*arguments, str(tmp_path / "images.npz")]) == 2
    assert "--data must be a folder of pictures" in capsys.readouterr().err
    assert main([*arguments, str(tmp_path / "nothing")]) == 2
    assert "there is no folder" in capsys.readouterr().err


def test_cases_are_words():
    with pytest.raises(TypeError, match="cases must be a list"):
        choose([], "12")
