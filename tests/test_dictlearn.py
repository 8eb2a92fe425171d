"""Dictionary learning: the mathematics of its parts, and the loop around the engines."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import tqdm.auto

from cscopt import L1, ConvDictionary, CSCProblem, datasets, fft, lowpass, solve, wisdom
from cscopt.dictlearn import (
    Batch,
    Constraint,
    LearnState,
    Moments,
    Online,
    Sporco,
    filter_gradient,
    initial_filters,
    learn,
)
from cscopt.dictlearn.data import Sample
from cscopt.dictlearn.masked import MaskedMoments
from cscopt.dictlearn.moments import _dense, _sparse
from cscopt.dictlearn.revive import _worst, revive
from cscopt.dictlearn.update import minimise

CASES = {
    "2-D": {"space": (15, 12), "support": (4, 3), "channels": 1, "filter_channels": 1},
    "narrow": {"space": (6, 5), "support": (4, 4), "channels": 1, "filter_channels": 1},
    "1-D": {"space": (40,), "support": (5,), "channels": 1, "filter_channels": 1},
    "3-D": {"space": (6, 7, 8), "support": (2, 3, 3), "channels": 1, "filter_channels": 1},
    "colour": {"space": (12, 11), "support": (3, 4), "channels": 3, "filter_channels": 3},
    "each channel": {"space": (12, 11), "support": (3, 4), "channels": 3, "filter_channels": 1},
    "complex": {"space": (12, 11), "support": (3, 4), "channels": 1, "filter_channels": 1, "dtype": np.complex128},
}


def solution_of(rng, space, support, channels, filter_channels, dtype=np.float64, method="working-set", **options):
    signal = rng.standard_normal((1, channels, *space)).astype(dtype)
    if np.iscomplexobj(signal):
        signal = signal + 1j * rng.standard_normal(signal.shape)
    filters = rng.standard_normal((4, filter_channels, *support))
    problem = CSCProblem(signal, ConvDictionary(filters).normalized(), L1(0.3), **options)
    return solve(problem, method, tol=1e-2)


def data_term(solution, filters):
    """½‖W(y − Σ d_m * x_m)‖² at the solution's codes, with other filters."""
    problem = solution.problem
    other = CSCProblem(
        problem.signal, ConvDictionary(filters), problem.penalty, mask=problem.mask, boundary=problem.boundary
    )
    image = other.synthesis.apply(solution.codes)
    weight = 1 if problem.mask is None else problem.mask
    return 0.5 * float(np.sum(np.abs(weight * (problem.signal - image)) ** 2))


@pytest.mark.parametrize("boundary", ["circular", "zero"])
@pytest.mark.parametrize("case", CASES)
def test_moments_tell_the_data_term_of_any_filters(case, boundary, rng):
    if case == "narrow" and boundary == "zero":
        pytest.skip("no room")
    solution = solution_of(rng, **CASES[case], boundary=boundary)
    assert solution.nonzeros > 10
    energy = float(np.sum(solution.problem.datafit.energy))
    sparse = _sparse(solution.problem, solution.sparse_codes, energy)
    dense = _dense(solution.problem, solution.codes, energy)
    np.testing.assert_allclose(sparse.codes, dense.codes, atol=1e-10)
    np.testing.assert_allclose(sparse.data, dense.data, atol=1e-10)
    filters = rng.standard_normal(solution.problem.dictionary.filters.shape)
    assert sparse.value(filters) == pytest.approx(data_term(solution, filters), rel=1e-10)


@pytest.mark.parametrize("boundary", ["circular", "zero", "none"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_the_gradient_is_the_data_terms(case, masked, boundary, rng):
    shape = CASES[case]
    mask = rng.random((1, 1, *shape["space"])) * 2 if masked else None
    for method in ("working-set", "fista"):
        solution = solution_of(rng, **shape, method=method, mask=mask, boundary=boundary)
        filters = np.asarray(solution.problem.dictionary.filters)
        gradient = filter_gradient(solution)
        direction = rng.standard_normal(filters.shape)
        change = data_term(solution, filters + 1e-4 * direction) - data_term(solution, filters - 1e-4 * direction)
        assert np.sum(gradient * direction) == pytest.approx(change / 2e-4, rel=1e-6, abs=1e-6)
        if method == "working-set":
            masks = MaskedMoments(solution.problem.dictionary.filters.shape)
            masks.add(solution.problem, solution.sparse_codes)
            assert masks.value(filters + direction) == pytest.approx(data_term(solution, filters + direction), rel=1e-9)
            np.testing.assert_allclose(masks.apply(filters) - masks.data, gradient, atol=1e-9)


LIMITS = {
    "sphere": Constraint(),
    "ball": Constraint("ball"),
    "zero mean": Constraint(zero_mean=True),
    "non-negative": Constraint(nonnegative=True),
    "window": Constraint("ball", window=np.array([[0, 1, 1], [1, 1, 1], [1, 1, 0], [0, 1, 0]], bool)),
    "window, zero mean": Constraint(
        zero_mean=True, window=np.array([[0, 1, 1], [1, 1, 1], [1, 1, 0], [0, 1, 0]], bool)
    ),
    "separable": Constraint("ball", separable=True),
    "separable, zero mean": Constraint(zero_mean=True, separable=True),
}


@pytest.mark.parametrize("name", LIMITS)
def test_a_projection_is_the_nearest_point_of_the_set(name, rng):
    limits = LIMITS[name]
    filters = rng.standard_normal((5, 1, 4, 3)) * rng.uniform(0.1, 2, (5, 1, 1, 1))
    projected = limits.project(filters)
    np.testing.assert_allclose(limits.project(projected), projected, atol=1e-12)
    norms = np.sqrt((projected**2).sum((1, 2, 3)))
    assert (norms <= 1 + 1e-12).all()
    if limits.norm == "sphere":
        np.testing.assert_allclose(norms, 1)
    if limits.zero_mean:
        np.testing.assert_allclose(projected.sum((2, 3)), 0, atol=1e-12)
    if limits.window is not None:
        assert (projected[..., ~limits.window] == 0).all()
    if limits.separable:
        assert (np.linalg.matrix_rank(projected[:, 0], tol=1e-9) == 1).all()
    distance = ((projected - filters) ** 2).sum((1, 2, 3))
    for _ in range(200):
        other = limits.project(projected + rng.standard_normal(filters.shape) * rng.choice([0.01, 0.1, 1]))
        assert (((other - filters) ** 2).sum((1, 2, 3)) >= distance - 1e-9).all()


@pytest.mark.parametrize(
    "options",
    [
        {"zero_mean": True, "nonnegative": True},
        {"separable": True, "nonnegative": True},
        {"window": np.zeros((2, 2), bool)},
        {"norm": "cube"},
    ],
)
def test_constraints_that_cannot_be_are_refused(options):
    with pytest.raises(ValueError, match=r"must"):
        Constraint(**options)


def test_minimise_finds_the_optimum_and_never_rises(rng):
    solution = solution_of(rng, **CASES["2-D"])
    total = _sparse(solution.problem, solution.sparse_codes, float(solution.problem.datafit.energy[0]))
    limits = Constraint("ball")
    start = limits.project(rng.standard_normal(total.data.shape))
    values = [minimise(total, start, limits, n)[1] for n in (1, 2, 5, 20, 300)]
    assert (np.diff([total.value(start), *values]) <= 1e-12).all()
    slow, step = start, 0.5 / total.curvature(np.ones(len(start)))
    for _ in range(20000):
        slow = limits.project(slow - step * (total.apply(slow) - total.data))
    assert values[-1] == pytest.approx(total.value(slow), rel=1e-6)


def pictures(count=6, side=48, name="camera"):
    high = lowpass.split(datasets.picture(name)[None, None])[1][0]
    corners = itertools.product(range(100, 400, side), range(100, 400, side))
    return [high[:, r : r + side, c : c + side] for r, c in itertools.islice(corners, count)]


def start_for(images, n_filters=12, support=(6, 6), **options):
    return initial_filters(images, n_filters, support, Constraint(zero_mean=True), **options)


ENGINES = {
    "surrogate": Online(lam=0.05, constraint=Constraint(zero_mean=True)),
    "warm": Online(lam=0.05, constraint=Constraint(zero_mean=True), warm=True),
    "gradient": Online(lam=0.05, constraint=Constraint(zero_mean=True), update="gradient", batch_size=2),
    "batch": Batch(lam=0.05, constraint=Constraint(zero_mean=True)),
}


@pytest.mark.parametrize("name", ENGINES)
def test_learning_lowers_what_is_held_out(name):
    images, others = pictures(), pictures(2, name="coins")
    start = start_for(images, kind="noise")
    engine = ENGINES[name]
    before = np.mean([engine.code(engine.problem(image, start)).objective for image in others])
    learned = learn(images, engine, start, max_epochs=4, validation=others)
    held_out = [v for v in learned.history["held_out"] if v == v]
    assert len(held_out) == 4
    assert len(learned.snapshots) == 5
    assert held_out[-1] < (0.97 if name == "gradient" else 0.9) * before
    np.testing.assert_allclose(learned.dictionary.norms(), 1, rtol=1e-5)
    np.testing.assert_allclose(learned.dictionary.filters.mean((2, 3)), 0, atol=1e-6)


@pytest.mark.parametrize("boundary", ["circular", "none"])
def test_the_batch_objective_never_rises(boundary):
    images = pictures(3)
    engine = Batch(lam=0.05, tol=1e-3, boundary=boundary)
    masks = None if boundary == "circular" else [None, (images[1] > 0).astype(np.float32), None]
    learned = learn(images, engine, start_for(images), masks=masks, max_epochs=6, revive_below=0)
    objective = np.array(learned.history["objective"])
    assert (np.diff(objective) <= 1e-6 * objective[0]).all()
    assert objective[-1] < 0.9 * objective[0]


def test_one_step_is_sporcos():
    """The gradient's step from codes that are all but exact, against SPORCO's from many ADMM iterations."""
    pytest.importorskip("sporco")
    images = [image.astype(np.float64) for image in pictures(2)]
    start = start_for(images)
    limits = Constraint(zero_mean=True)
    theirs = Sporco(lam=0.05, constraint=limits, max_iter=1000, tol=1e-8)
    ours = Online(lam=0.05, constraint=limits, update="gradient", tol=1e-9, max_iter=3000)
    for image in images:
        steps = [e.step(e.init(start), [image]) for e in (ours, theirs)]
        assert steps[0].history["objective"] == pytest.approx(steps[1].history["objective"], rel=1e-6)
        np.testing.assert_allclose(steps[0].filters, steps[1].filters, atol=2e-4)
        assert np.abs(steps[0].filters - start).max() > 0.01


RESUMED = """
import pathlib, shutil, sys
import numpy as np
from cscopt.dictlearn import learn
sys.path.insert(0, {tests!r})
import test_dictlearn as t
name, checkpoint, early, result = sys.argv[1:]

def keep(state):
    if state.step == 3 and not pathlib.Path(early).exists():
        shutil.copy(checkpoint, early)

images = [image[:, : 48 - 4 * k] for k, image in enumerate(t.pictures(4))]
engine = t.Sporco(lam=0.05, max_iter=10) if name == "sporco" else t.ENGINES[name]
learned = learn(images, engine, t.start_for(images), max_epochs=4, checkpoint=checkpoint, checkpoint_seconds=0,
                validation=t.pictures(1, name="coins"), callback=keep)
np.save(result, learned.state.filters)
"""


@pytest.mark.parametrize("name", [*ENGINES, "sporco"])
def test_resuming_in_a_new_process_is_exact(name, tmp_path):
    """From the state after two steps, with sizes not met before, on a computer that knows no FFT plans."""
    if name == "sporco":
        pytest.importorskip("sporco")
    script = RESUMED.format(tests=os.path.dirname(__file__))

    def run(checkpoint, result):
        environment = {**os.environ, "CSCOPT_NUM_THREADS": "1", "CSCOPT_CACHE_DIR": str(tmp_path / f"of-{result}")}
        files = [str(tmp_path / file) for file in (checkpoint, "early.safetensors", result)]
        subprocess.run([sys.executable, "-c", script, name, *files], check=True, env=environment)
        return np.load(tmp_path / result)

    whole = run("whole.safetensors", "whole.npy")
    assert LearnState.load(tmp_path / "early.safetensors", None).step == 2
    assert (run("early.safetensors", "late.npy") == whole).all()


@pytest.mark.parametrize("update", ["surrogate", "gradient"])
def test_plans_that_fftw_measures_do_not_matter(monkeypatch, update):
    """Nor those that it knows: a bank that is built again has the same bits."""
    pyfftw = pytest.importorskip("pyfftw")
    for name in ("load", "save"):
        monkeypatch.setattr(wisdom, name, lambda: None)
    images = [image[:, :n, :m] for image, n, m in zip(pictures(3, 128), (90, 121, 64), (100, 128, 96), strict=True)]
    engine = Online(lam=0.05, method="fista", max_iter=20, update=update)
    found = []
    for seconds in (2.0, 0.0):  # none: FFTW takes the first plan that comes to its mind
        monkeypatch.setattr(fft, "_PLANNING_SECONDS", seconds)
        fft.clear()
        pyfftw.forget_wisdom()
        engine.code(engine.problem(images[0], start_for(images)))
        found.append(learn(images, engine, start_for(images), max_epochs=1).state.filters)
    assert (found[0] == found[1]).all()


SPORCOS = """
import hashlib, sys
import numpy as np
import sporco.fft
from cscopt.dictlearn import Sporco, learn
sys.path.insert(0, {tests!r})
import test_dictlearn as t

images = t.pictures(2, 72)
if sys.argv[1] == "planned":
    for count in (1, 12):
        codes = sporco.fft.empty_aligned((72, 72, 1, 1, count), np.float32)
        sporco.fft.irfftn(sporco.fft.rfftn(codes, None, (0, 1)), (72, 72), (0, 1))
before = sporco.fft.pyfftw_planner_effort, sporco.fft.pyfftw_threads
learned = learn(images, Sporco(lam=0.05, max_iter=10), t.start_for(images), max_epochs=2, validation=images[:1])
assert (sporco.fft.pyfftw_planner_effort, sporco.fft.pyfftw_threads) == before
print(hashlib.sha256(learned.state.filters.tobytes()).hexdigest())
"""


def test_sporcos_engine_gives_the_same_bits_in_every_process(tmp_path):
    """Whatever SPORCO has planned before: so that it goes on from a state as if it had never stopped."""
    pytest.importorskip("sporco")
    found = set()
    for k, before in enumerate(("new", "new", "planned")):
        environment = {**os.environ, "CSCOPT_NUM_THREADS": "1", "CSCOPT_CACHE_DIR": str(tmp_path / str(k))}
        command = [sys.executable, "-c", SPORCOS.format(tests=os.path.dirname(__file__)), before]
        found.add(subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE).stdout)
    assert len(found) == 1


@pytest.mark.parametrize("boundary", ["circular", "zero"])
@pytest.mark.parametrize("update", ["surrogate", "gradient", "batch"])
@pytest.mark.parametrize("method", ["fista", "admm"])
def test_a_step_takes_at_most_five_arrays_of_the_maps(method, update, boundary):
    image = lowpass.split(datasets.picture("camera")[None, None])[1][0][:, :192, :192]
    options = {"lam": 0.05, "method": method, "max_iter": 12, "updates": 2, "boundary": boundary}  # ADMM balances at 10
    engine = Batch(**options) if update == "batch" else Online(update=update, batch_size=2, **options)
    start = start_for([image], 24, (4, 4))
    state, images = engine.init(start), [image, image]
    if update == "batch":  # from codes of a step before
        state = engine.step(state, images)
    assert peak_of(engine, state, images) <= 5 * len(start) * image.nbytes


@pytest.mark.parametrize("engine", [Online(lam=0.05), Batch(lam=0.05)], ids=["online", "batch"])
def test_nor_do_many_large_filters_whose_moments_are_larger_than_their_maps(engine):
    image = lowpass.split(datasets.picture("camera")[None, None])[1][0][:, 100:292, 100:292]
    start = start_for([image], 64, (11, 11))
    state = engine.step(engine.init(start), [image])
    assert peak_of(engine, state, [image]) <= 5 * len(start) * image.nbytes


def peak_of(engine, state, images):
    """Bytes that a step holds at most, beside what is there before it."""
    engine.step(state, images)  # compiles
    fft.clear()
    tracemalloc.start()
    try:
        engine.step(state, images)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("channels", [1, 3])
def test_volumes_and_colour_are_learned_too(channels, rng):
    """3-D pictures, and colour ones by filters of three channels and of one."""
    if channels == 3:
        picture = np.moveaxis(datasets.picture("astronaut", grey=False)[100:140, 200:240], -1, 0)
        images, support = [lowpass.split(picture[None])[1][0]], (5, 5)
    else:
        images, support = [lowpass.split(rng.random((1, 1, 12, 13, 14)), padding=4)[1][0]], (3, 3, 3)
    for single in {False, channels == 3}:
        start = initial_filters(images, 5, support, kind="noise", single_channel=single)
        assert start.shape == (5, 1 if single else channels, *support)
        for engine in (Online(lam=0.03), Batch(lam=0.03), Online(lam=0.03, update="gradient")):
            objective = learn(images, engine, start, max_epochs=4, revive_below=0).history["objective"]
            assert objective[-1] < 0.99 * objective[0]


@pytest.mark.parametrize("engine", [Online(lam=0.05, warm=True), Batch(lam=0.05)], ids=["online", "batch"])
def test_complex_codes_are_kept_in_double_precision(tmp_path, engine):
    images = [(image + 1j * np.roll(image, 3, -1)).astype(np.complex128) for image in pictures(2, 24)]
    start, path = start_for(images, 4), tmp_path / "state.safetensors"
    whole = learn(images, engine, start, max_epochs=2)
    learn(images, engine, start, max_epochs=1, checkpoint=path)
    again = learn(images, engine, start, max_epochs=2, state=LearnState.load(path, None))
    np.testing.assert_allclose(again.dictionary.filters, whole.dictionary.filters, atol=1e-9)


@pytest.mark.parametrize("engine", [Online(lam=0.05, warm=True), Batch(lam=0.05)], ids=["online", "batch"])
@pytest.mark.parametrize("size", [24, 30])
def test_a_state_goes_on_with_other_images_and_none_of_the_codes_it_has(engine, size):
    first = learn(pictures(2, 24), engine, start_for(pictures(2, 24), 4), max_epochs=1).state
    others = [np.roll(image[..., ::-1], 5, -1).copy() for image in pictures(2, size)]
    codeless = replace(first, memory={name: array for name, array in first.memory.items() if "." not in name})
    found, wanted = (learn(others, engine, first.filters, max_epochs=2, state=s) for s in (first, codeless))
    np.testing.assert_array_equal(found.dictionary.filters, wanted.dictionary.filters)


def test_the_batch_size_may_change_between_runs_and_epochs_are_counted():
    images = pictures(4, 24)
    start = start_for(images, 4)
    half = learn(images, Online(lam=0.05), start, max_epochs=2)
    more = learn(images, Online(lam=0.05, batch_size=3), start, max_epochs=4, state=half.state)
    assert (half.state.step, more.state.step, more.state.epoch) == (8, 12, 4)
    last = learn(images, Online(lam=0.05), start, max_epochs=5, state=more.state)
    assert (last.state.step, last.state.epoch, last.state.place) == (16, 5, 0)


def test_with_another_batch_size_the_stopping_rule_and_the_bar_know_the_epochs(monkeypatch):
    """The image seen last is dark: alone it stood for an epoch, of which the next was no better."""
    totals = []

    class Bar(tqdm.auto.tqdm):
        def __init__(self, total, **options):
            totals.append(total)
            super().__init__(total=total, disable=True, **options)

    monkeypatch.setattr(tqdm.auto, "tqdm", Bar)
    images = pictures(4, 24)
    last = np.random.default_rng([0, 0]).permutation(4)[-1]
    images[last] = images[last] / 10
    start = start_for(images, 4)
    first = learn(images, Online(lam=0.02), start, max_epochs=1, progress=True).state
    other = Online(lam=0.02, batch_size=4)
    more = learn(images, other, start, max_epochs=2, state=first, stop_below=1e-4, progress=True)
    assert (more.status, totals) == ("max_epochs", [4, 5])


@pytest.mark.parametrize("engine", [Online(lam=0.3), Batch(lam=0.3)], ids=["online", "batch"])
def test_epochs_in_two_runs_are_those_of_one(tmp_path, engine):
    """Dead atoms, of which there are some here, are replaced before an epoch, whichever run that belongs to."""
    images, path = pictures(2, 24), tmp_path / "state.safetensors"
    start = start_for(images, 30)
    whole = learn(images, engine, start, max_epochs=3, revive_below=0.2)
    learn(images, engine, start, max_epochs=1, revive_below=0.2, checkpoint=path)
    after = learn(images, engine, start, max_epochs=3, revive_below=0.2, checkpoint=path)
    unrevived = learn(images, engine, start, max_epochs=3, revive_below=0.0)
    np.testing.assert_allclose(after.dictionary.filters, whole.dictionary.filters, atol=1e-5)
    assert np.abs(unrevived.dictionary.filters - whole.dictionary.filters).max() > 0.1


def test_a_checkpoint_of_another_task_is_refused(tmp_path):
    images, path = pictures(2, 24), tmp_path / "state.safetensors"
    start = start_for(images, 4)
    learn(images, Online(lam=0.05), start, max_epochs=1, checkpoint=path)
    for other in ({"engine": Online(lam=0.06)}, {"engine": Online(lam=0.05), "random_state": 1}):
        with pytest.raises(ValueError, match=r"another task.*; delete it to begin anew"):
            learn(images, initial=start, max_epochs=1, checkpoint=path, **other)
    state = learn(images, Online(lam=0.05), start, max_epochs=1).state
    for other in ({"revive_below": 0.1}, {"state": state}):
        with pytest.raises(ValueError, match="another task"):
            learn(images, Online(lam=0.05), start, max_epochs=1, checkpoint=path, **other)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="safetensors"):
        learn(images, Online(lam=0.05), start, max_epochs=1, checkpoint=path)
    with pytest.raises(TypeError, match="random_state"):
        learn(images, Online(lam=0.05), start, random_state=None, checkpoint=tmp_path / "new.safetensors")


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT to itself")
def test_control_c_ends_learning_and_loses_nothing(tmp_path, rng, ctrl_c):
    """It ends the coding at hand, whose codes are not those asked for, and so the step."""
    images = [rng.standard_normal((1, 48, 48)) for _ in range(3)]
    steps = []

    def press(state):
        steps.append(state.step)
        if state.step == 2:
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()

    start = initial_filters(images, 8, (5, 5), Constraint(), 0)
    path = tmp_path / "state.safetensors"
    with pytest.raises(KeyboardInterrupt):
        learn(images, Online(lam=0.05, tol=1e-7), start, max_epochs=1000, callback=press, checkpoint=path)
    assert LearnState.load(path, None).step == steps[-1] < 1000


@pytest.mark.parametrize("engine", [Online(lam=0.05), Batch(lam=0.05)], ids=["online", "batch"])
def test_dead_atoms_are_revived(engine):
    """By what the others explain worst: those in use stay, and the objective falls."""
    images = pictures(2)
    start = start_for(images)
    start[3] = start[7] = -start[0]  # of no use beside it
    state = learn(images, engine, start, max_epochs=1).state
    dead = replace(state, usage=np.where(np.isin(np.arange(12), (3, 7)), 0.0, state.usage))
    samples = [Sample(k, image, None) for k, image in enumerate(images)]
    revived = revive(engine, dead, samples, 1e-3, [0])
    changed = np.any(revived.filters != state.filters, axis=(1, 2, 3))
    assert changed.tolist() == [m in (3, 7) for m in range(12)]
    np.testing.assert_allclose((revived.filters**2).sum((1, 2, 3)), 1, rtol=1e-9)
    before, after = (sum(engine.code(engine.problem(i, s.filters)).objective for i in images) for s in (state, revived))
    assert after < before
    assert engine.step(revived, images[:1]).history["objective"][-1] > 0
    assert revive(engine, state, samples, 0.0, [0]) is state


def test_the_stopping_rule_ends_learning():
    images = pictures(2, 32)
    learned = learn(images, Online(lam=0.05), start_for(images), max_epochs=50, stop_below=0.05)
    assert learned.status == "converged"
    assert learned.state.step < 60
    stopped = learn(images, Online(lam=0.05), start_for(images), callback=lambda state: state.step == 3)
    assert (stopped.status, stopped.state.step) == ("stopped", 3)


def _masked(last):
    images = [np.ones((1, 20, 20), np.float32)] * 3
    return {"images": images, "masks": [None, np.ones((1, 20, 20)), last], "engine": Online(update="gradient")}


def _never(state):
    raise AssertionError("a step was done")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": []}, "images must not be empty"),
        ({"images": [np.zeros((1, 5, 20), np.float32)]}, r"images\[0\] must not be smaller"),
        ({"images": [np.full((1, 20, 20), np.nan, np.float32)]}, r"images\[0\] must be finite"),
        ({"images": [np.zeros((20, 20), np.float32)]}, r"images\[0\] must be \(channel"),
        ({"images": ["camera"]}, r"images\[0\] must be an array"),
        ({"masks": [np.ones((1, 20, 20))]}, "update='gradient'"),
        ({"masks": []}, "masks must be as many"),
        ({"validation": [np.ones((1, 9, 9))], "validation_masks": iter([])}, "validation_masks must be as many as the"),
        (
            {"validation": [np.ones((1, 9, 9))], "validation_masks": [-np.ones((1, 9, 9))]},
            r"validation_masks\[0\] must",
        ),
        (_masked(-np.ones((1, 20, 20))), r"masks\[2\] must not be negative; its least entry is -1"),
        (_masked(np.zeros((1, 20, 20))), r"masks\[2\] must not be zero everywhere"),
        (_masked(np.full((1, 20, 20), np.nan)), r"masks\[2\] must be finite"),
        ({"engine": "online"}, "engine must be"),
        ({"initial": np.zeros((4, 1, 6, 6))}, "must not be zero"),
        ({"max_epochs": 0}, "max_epochs"),
        ({"checkpoint": "/nonexistent/state.safetensors"}, "does not exist"),
        ({"state": {}}, "state must be a LearnState"),
        ({"state": LearnState.first(np.ones((3, 1, 6, 6)))}, "state must hold filters"),
    ],
)
def test_bad_input_gets_a_sentence(change, message, rng):
    given = {
        "images": [rng.standard_normal((1, 20, 20)).astype(np.float32)],
        "engine": Online(),
        "initial": rng.standard_normal((4, 1, 6, 6)),
        "callback": _never,
    } | change
    with pytest.raises((TypeError, ValueError, OSError), match=message):
        learn(**given)


def test_values_whose_squares_overflow_are_refused(rng):
    image, start = rng.standard_normal((1, 20, 20)), rng.standard_normal((4, 1, 6, 6))
    message = r"images?(\[0\]| 0) must have no entry above .*, or squares overflow; its largest is"
    with pytest.raises(ValueError, match=message):
        initial_filters([image * 1e160], 4, (6, 6))
    for engine, factor in ((Online(), 1e160), (Batch(), 1e160), (Online(update="gradient"), 1e100)):
        with pytest.raises(ValueError, match=message):
            learn([image * factor], engine, start, callback=_never)
    with pytest.raises(ValueError, match=message):
        learn([(image * 1e25).astype(np.float32)], Online(), start, callback=_never)


def test_bad_options_of_engines_get_a_sentence():
    for kind, options, message in (
        (Batch, {"boundary": "symmetric"}, "boundary must be"),
        (Online, {"boundary": "none"}, "use update='gradient'"),
        (Online, {"method": "admn"}, "method must be"),
        (Online, {"step_size": 3.0}, "step_size must be two"),
        (Online, {"constraint": "zero_mean"}, "constraint must be"),
        (Constraint, {"zero_mean": "yes"}, "zero_mean must be True or False"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            kind(**options)


def test_pictures_of_mixed_size_and_states_on_disk(tmp_path):
    images = [image[:, : 30 + 3 * k] for k, image in enumerate(pictures(3))]
    learned = learn(images, Online(lam=0.05), start_for(images), max_epochs=2)
    swapped = [image.astype(image.dtype.newbyteorder(">")) for image in images]  # as FITS files have it
    np.testing.assert_array_equal(
        learn(swapped, Online(lam=0.05), start_for(images), max_epochs=2).dictionary.filters, learned.dictionary.filters
    )
    path = tmp_path / "state.safetensors"
    learned.state.save(path)
    again = LearnState.load(path)
    assert (again.filters == learned.state.filters).all()
    np.testing.assert_equal(dict(again.history), dict(learned.history))
    assert set(again.memory) == set(learned.state.memory)


@pytest.mark.parametrize("name", ["surrogate", "gradient", "batch"])
def test_learning_in_torch_gives_the_same_filters(name):
    torch = pytest.importorskip("torch")
    images = [image[:, :24, :24].astype(np.float64) for image in pictures(2)]
    engine = replace(ENGINES[name], tol=1e-9, max_iter=20000)
    start = start_for(images, 4, (4, 4))
    numpy = learn(images, engine, start, max_epochs=2)
    other = learn([torch.from_numpy(image) for image in images], engine, start, max_epochs=2)
    np.testing.assert_allclose(other.dictionary.filters, numpy.dictionary.filters, atol=1e-4)
    np.testing.assert_allclose(other.history["objective"], numpy.history["objective"], rtol=1e-7)
    np.testing.assert_allclose(other.usage, numpy.usage, rtol=1e-4)


def test_moments_add_up_and_forget():
    total = Moments.zero((3, 1, 2, 2))
    one = Moments(np.ones_like(total.codes), np.ones_like(total.data), 2.0)
    mixed = total.plus(one).plus(one, 0.5, 2.0)
    assert mixed.energy == 5.0
    assert (mixed.codes == 2.5).all()
    assert mixed.without([1]).scales.tolist() == [2.5, 0, 2.5]


@pytest.mark.parametrize("support", [(4, 4), (3, 4), (5, 5)])
def test_the_worst_patch_begins_where_it_is_cut(support):
    """The image explains nothing but one block, which is that patch, in the last corner too."""
    for corner in ((7, 9), tuple(24 - k for k in support)):
        image = np.zeros((1, 24, 24))
        block = np.random.default_rng(0).standard_normal(support)
        image[(0, *(slice(c, c + k) for c, k in zip(corner, support, strict=True)))] = block
        engine = Online(lam=100.0)
        state = engine.init(np.random.default_rng(1).standard_normal((2, 1, *support)))
        (piece,) = _worst(engine, state, Sample(0, image, None), 1, np.random.default_rng(0))
        np.testing.assert_array_equal(piece[0], block)


def test_nonnegative_filters_never_vanish():
    """The nearest point of the positive part of the sphere to what is negative everywhere is its largest entry."""
    given = -np.arange(1.0, 19).reshape(2, 1, 3, 3)
    given[1] = 0
    found = Constraint(nonnegative=True).project(given)
    np.testing.assert_array_equal(found[0].ravel(), np.eye(9)[0])
    assert not found[1].any()
    window = np.zeros((3, 3), bool)
    window[1, 1:] = True
    np.testing.assert_array_equal(Constraint(nonnegative=True, window=window).project(given)[0].ravel(), np.eye(9)[4])
