"""Banks: refused where they are not good, searched, and drawn."""

import base64
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from bank_cases import PATIENCE, put

import cscopt
from cscopt import ConvDictionary, io, lowpass
from cscopt.bank import Bank, Samples, Spec, verify, work
from cscopt.bank.entry import Entry, write
from cscopt.cli import main
from cscopt.report import _averaged, write_report


def test_files_that_are_not_good_are_refused_and_named(tmp_path, rng, capsys):
    folder = tmp_path / "bank"
    paths = [put(folder, rng.standard_normal((m, 1, 3, 3))) for m in (2, 3, 4, 5)]
    assert not verify(folder)
    whole = paths[0].read_bytes()
    paths[0].write_bytes(whole[:-5])
    for command in ("list", "report"):
        assert main(["bank", command, str(folder)]) == 2
        assert re.search(rf"{paths[0].name} is not a readable .* half-written", capsys.readouterr().err)
    changed = bytearray(paths[1].read_bytes())
    changed[-1] ^= 1
    paths[1].write_bytes(changed)
    paths[2].write_bytes(paths[2].read_bytes().replace(b"cscopt-dictionary-1", b"cscopt-dictionary-7"))
    ConvDictionary(rng.standard_normal((2, 1, 3, 3))).save(folder / "foreign.safetensors")
    wrong = verify(folder)
    assert set(wrong) == {paths[0].name, paths[1].name, paths[2].name, "foreign.safetensors"}
    assert "digest does not fit" in wrong[paths[1].name]
    assert "made by a newer cscopt (format 7" in wrong[paths[2].name]
    assert "damaged" not in wrong[paths[2].name]
    assert "no bank wrote it" in wrong["foreign.safetensors"]
    assert main(["bank", "verify", str(folder)]) == 2
    assert f"{folder}: not good: {paths[0].name}, " in capsys.readouterr().err


def test_a_file_has_the_name_of_its_dictionary(tmp_path, rng):
    """Or a build takes it for another, and a bank tells what is not so."""
    folder = tmp_path / "bank"
    one, other = (put(folder, rng.standard_normal((m, 1, 3, 3))) for m in (2, 3))
    named = put(folder, rng.standard_normal((4, 1, 3, 3)), name="none")
    named = named.rename(folder / "none.safetensors")
    opened = Bank.open(folder)
    assert not verify(folder)
    third = named.rename(folder / "other.safetensors")
    assert verify(folder)[third.name] == f"{third} is the dictionary none, and must have its name"
    with pytest.raises(ValueError, match="is the dictionary none"):
        Bank.open(folder)
    third.unlink()
    first = opened[one.stem]
    os.replace(other, one)
    with pytest.raises(ValueError, match="was replaced since the bank was opened"):
        first.load()


def test_verify_knows_what_is_gone_and_an_index_that_lies(tmp_path, rng, capsys):
    folder = tmp_path / "bank"
    paths = [put(folder, rng.standard_normal((m, 1, 3, 3))) for m in (2, 3)]
    index = folder / "index.json"
    Bank.open(folder)
    given = index.read_text()
    index.write_text(given.replace('"lam": "0.1"', '"lam": "0.7"', 1))
    (wrong,) = verify(folder).values()
    assert "tells other things" in wrong
    index.write_text(given)
    paths[0].unlink()
    assert verify(folder) == {paths[0].name: f"{paths[0]} is gone: the index knows it (`Bank.open` forgets it)"}
    assert len(Bank.open(folder)) == 1
    assert not verify(folder)
    paths[1].unlink()
    Bank.open(folder)
    assert main(["bank", "verify", str(folder)]) == 2
    assert "there is no dictionary in" in capsys.readouterr().err
    assert main(["bank", "show", str(folder), "one"]) == 2
    assert "there is no dictionary in" in capsys.readouterr().err


def _damaged(provenance):
    """Rows' texts without one of their keys, or with words in the place of numbers."""
    for key in ("n_filters", "support", "images", "cscopt", "held_out", "wall_seconds"):
        yield {"provenance": {k: v for k, v in provenance.items() if k != key}}
    for key in ("support", "lam", "held_out"):
        yield {"provenance": provenance | {key: "many"}}
    yield {"provenance": provenance | {"engine": 5}}


def test_the_index_follows_the_files(tmp_path, rng):
    folder = tmp_path / "bank"
    one = put(folder, rng.standard_normal((2, 1, 3, 3)))
    assert len(Bank.open(folder)) == 1
    other = put(folder, rng.standard_normal((3, 1, 3, 3)))
    assert [e.n_filters for e in Bank.open(folder)] == [2, 3]
    one.unlink()
    assert [e.path for e in Bank.open(folder)] == [other]
    index = folder / "index.json"
    for text in ("", "[]", '{"format": 1, "files": {"x": 1}}', "{"):
        index.write_text(text)
        assert len(Bank.open(folder)) == 1
    assert json.loads(index.read_text())["files"].keys() == {other.name}
    rows = json.loads(index.read_text())["files"]
    for damage in ({"provenance": None}, {"provenance": []}, *_damaged(rows[other.name]["provenance"])):
        index.write_text(json.dumps({"format": 1, "files": {other.name: rows[other.name] | damage}}))
        assert main(["bank", "list", str(folder)]) == 0
        assert json.loads(index.read_text())["files"] == rows
    index.write_text(json.dumps({"format": 9, "other": 1, "files": {}}))
    for reading in (Bank.open, verify):
        with pytest.raises(ValueError, match="was made by a newer cscopt"):
            reading(folder)
    for text in ("[]", '{"name": "a package of JavaScript"}', '{"format": "esm", "files": []}'):
        index.write_text(text)
        assert len(Bank.open(folder)) == 1
        assert index.read_text() == text, "another's file is left alone"
    with pytest.raises(FileNotFoundError, match="there is no bank"):
        Bank.open(tmp_path / "none")


def test_selection(tmp_path, rng):
    folder = tmp_path / "bank"
    for m, support, lam in ((2, (3, 3), 0.1), (2, (3, 4), 0.1), (3, (3, 3), 0.2)):
        put(folder, rng.standard_normal((m, 1, *support)), lam)
    full = Bank.open(folder)
    assert len(full.select(support=(3, 3), lam=0.1)) == 1
    assert len(full.select(support=3)) == 2
    assert len(full.select(lam=[0.1, 0.2])) == 3
    assert full.select(n_filters=3)[0] is full[2]
    assert full[full[1].name] is full[1]
    assert [e.name for e in full[:2]] == [e.name for e in full][:2]
    assert repr(full) == f"Bank({str(folder)!r}, 3 dictionaries)"
    assert repr(full[0]) == f"Entry({str(full[0].path)!r})"
    with pytest.raises(ValueError, match=r"no 'lamb'; did you mean 'lam'"):
        full.select(lamb=1)
    with pytest.raises(ValueError, match=r"did you mean '3-0\.2"):
        full["3-0.2"]


def test_best_for_is_the_least_objective_at_one_lam(tmp_path, rng):
    truth, other = rng.standard_normal((2, 3, 1, 5, 5))
    truth, other = (f - f.mean(axis=(2, 3), keepdims=True) for f in (truth, other))
    truth, other = (f / np.sqrt((f**2).sum(axis=(1, 2, 3), keepdims=True)) for f in (truth, other))
    codes = rng.standard_normal((1, 3, 40, 40)) * (rng.random((1, 3, 40, 40)) < 0.01)
    signal = ConvDictionary(truth).synthesize(codes).astype(np.float32)
    folder = tmp_path / "bank"
    good, bad = put(folder, truth, lam=0.3, beta=5.0), put(folder, other, lam=0.05, beta=5.0)
    put(folder, other, lam=0.05, beta=0.05)
    full = Bank.open(folder)
    assert full.select(beta=5.0).best_for(signal, lam=0.05).path == good
    assert full.select(beta=5.0).best_for(signal[0, 0].astype(">f4"), lam=0.05).path == good
    scores = {s.entry.path: s.objective for s in full.select(beta=5.0).scores(signal, 0.05)}
    for path in (good, bad):
        problem = cscopt.CSCProblem(lowpass.split(signal, 5.0)[1], ConvDictionary.load(path), 0.05)
        assert scores[path] == pytest.approx(cscopt.solve(problem, "fista", tol=1e-5).objective, rel=2e-3)
    # a weak smoothing takes nearly all of the signal away: at their own β it wins, at one β for all the filters count
    assert full.best_for(signal, lam=0.05).beta == 0.05
    assert full.best_for(signal, lam=0.05, beta=5.0).path == good
    with pytest.raises(ValueError, match="signal must have the 2 axes"):
        full.best_for(signal[0], lam=0.05)
    with pytest.raises(ValueError, match="lam must be positive"):
        full.best_for(signal, lam=0)
    with pytest.raises(ValueError, match="there is no dictionary to choose from"):
        full.select(n_filters=99).best_for(signal, lam=0.1)


def test_the_report_is_one_page_that_a_browser_shows(tmp_path, rng, capsys):
    folder = tmp_path / "bank"
    shapes = [(5, 1, 4, 4), (6, 3, 3, 3), (4, 1, 7), (3, 1, 3, 4, 5), (2, 2, 3, 3)]
    paths = [put(folder, rng.standard_normal(shape), data="<b>&") for shape in shapes]
    page = tmp_path / "bank.html"
    assert main(["bank", "report", str(folder), "-o", str(page)]) == 0
    text = page.read_text()
    assert not re.search(r"https?:|<script|<link|url\(|@import", text)
    assert "&lt;b&gt;&amp;" in text
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    assert len(pictures) == len(shapes)
    assert text.count("src=") == len(shapes)
    # atoms of the first dictionary, (5, 1, 4, 4), stand in the order of their use
    at = next(k for k, entry in enumerate(Bank.open(folder)) if entry.path == paths[0])
    (tmp_path / "mosaic.png").write_bytes(base64.b64decode(pictures[at]))
    shown = io.load_image(tmp_path / "mosaic.png")
    filters = ConvDictionary.load(paths[0]).filters[:, 0]
    first = filters[np.argsort(-(np.arange(5)[::-1] % 3 + 0.5), kind="stable")[0]]
    np.testing.assert_allclose(shown[1:5, 1:5], 0.5 + 0.5 * first / np.abs(first).max(), atol=1 / 255)
    assert main(["bank", "report", str(folder), "-o", str(tmp_path / "bank.txt")]) == 2
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no browser")
    picture = tmp_path / "page.png"
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    found = subprocess.run(
        [browser, *options, "--window-size=1200,1600", f"--screenshot={picture}", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    dom = found.stdout or text
    assert dom.count("<section") == len(shapes)
    assert dom.count("<svg") == len(shapes)
    assert dom.count("<polyline") == 2 * len(shapes)
    assert np.ptp(io.load_image(picture)) > 0.8


def test_a_report_of_a_bank_that_learned(tmp_path, spec):
    folder = tmp_path / "bank"
    folder.mkdir()
    given = Spec.read(spec)
    work.learn_case(given.cases(Samples.of(given.data, 1))[0], folder, 10.0)
    write_report(Bank.open(folder), tmp_path / "page.html")
    assert "Half of Σ|x| is in" in (tmp_path / "page.html").read_text()


def test_lam_of_scores_is_that_of_the_learning_where_there_is_one(tmp_path, rng):
    signal = rng.standard_normal((12, 12)).astype(np.float32)
    for _ in range(2):
        put(tmp_path, rng.standard_normal((2, 1, 3, 3)), lam=0.3)
    one = Bank.open(tmp_path)
    assert one.best_for(signal) == one.best_for(signal, 0.3)
    put(tmp_path, rng.standard_normal((2, 1, 3, 3)), lam=0.5)
    with pytest.raises(ValueError, match=r"lam must be given .*; got \[0\.3, 0\.5\]"):
        Bank.open(tmp_path).best_for(signal)


def test_plain_dictionaries_are_no_bank_and_it_is_said_what_reads_them(tmp_path, rng):
    ConvDictionary(rng.standard_normal((2, 1, 3, 3))).save(tmp_path / "plain.safetensors")
    with pytest.raises(ValueError, match=r"no bank wrote it.*; ConvDictionary\.load reads it"):
        Bank.open(tmp_path)


def test_the_shipped_dictionaries_are_a_bank_of_the_specs(tmp_path):
    """Each file is whole, below 1 MB, and the dictionary of a case that the specs name today."""
    for path in io.data_folder().glob("*.safetensors"):
        shutil.copy(path, tmp_path)
        assert path.stat().st_size < 1e6
    assert not verify(tmp_path)
    bank, known = Bank.open(tmp_path), {}
    for name in ("natural", "natural-colour"):
        spec = Spec.read(Path(__file__).parents[1] / "specs" / f"{name}.yaml")
        samples = Samples.of(spec.data, spec.holdout)
        known |= {f"{name}-{case.size}": (case.name, samples.sha256) for case in spec.cases(samples)}
    assert known == {one.name: (one.provenance["case"], one.provenance["data_sha256"]) for one in bank}
    assert all(one.name == one.provenance["name"] for one in bank)
    sizes = {(one.channels, one.support[0], one.n_filters) for one in bank}
    assert sizes == {(1, 8, 32), (1, 8, 64), (1, 8, 96), (1, 12, 64), (3, 8, 64)}


def test_a_long_history_keeps_the_means_of_its_epochs(tmp_path, rng):
    steps, epoch = 1000, 40
    objective = rng.lognormal(3, 1, steps)
    held_out = np.where(np.arange(1, steps + 1) % epoch == 0, 5.0, np.nan)
    history = {"step": np.arange(1.0, steps + 1), "objective": objective, "held_out": held_out}
    path = tmp_path / "long.safetensors"
    facts = {"lam": 0.1, "beta": 1, "engine": "online", "seed": 0, "data_sha256": "0", "steps": steps, "images": 40}
    learned = {"history": history, "usage": np.ones(2), "seconds": 1.0}
    write(path, ConvDictionary(rng.standard_normal((2, 1, 3, 3))), learned, facts | {"cscopt": "0"})
    back = Entry(path, {}).history()
    assert 200 <= len(back["step"]) <= 225
    ends, means = _averaged(back)
    assert ends == list(range(epoch, steps + 1, epoch))
    np.testing.assert_allclose(means, objective.reshape((-1, epoch)).mean(axis=1), rtol=1e-5)


def test_an_interrupted_search_names_no_best(tmp_path, rng, monkeypatch):
    """Ctrl-C stops a solver, whose objective is then none to compare."""
    folder = tmp_path / "bank"
    for m in (2, 3):
        put(folder, rng.standard_normal((m, 1, 3, 3)))
    solved = []

    def stopped(*given, **options):
        solved.append(cscopt.solve(*given, **options, callback=lambda iterate: True))
        return solved[-1]

    monkeypatch.setattr("cscopt.bank.store.solve", stopped)
    with pytest.raises(KeyboardInterrupt):
        Bank.open(folder).best_for(np.cumsum(rng.standard_normal((20, 20)), axis=0), tol=1e-9)
    assert len(solved) == 1
