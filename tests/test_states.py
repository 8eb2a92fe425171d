"""States of learning that go on in other circumstances: constraint, engine, images, epochs cut short, streams."""

from dataclasses import replace

import numpy as np
import pytest
from test_dictlearn import pictures, start_for

from cscopt import ConvDictionaryLearning
from cscopt.dictlearn import Batch, Constraint, LearnState, Online, Sporco, initial_filters, keeper, learn
from cscopt.dictlearn.data import Sample
from cscopt.dictlearn.revive import revive


def stopped_after(steps, images, engine=None):
    return learn(images, engine or Online(lam=0.05), start_for(images, 6), callback=lambda s: s.step == steps).state


@pytest.mark.parametrize("engine", [Online, Batch])
def test_filters_of_a_state_come_into_the_set(engine):
    images = pictures(2, 24)
    state = learn(images, Online(lam=0.05), start_for(images, 6), max_epochs=1).state
    assert np.abs(state.filters.mean(axis=(2, 3))).max() > 1e-3
    other = engine(lam=0.05, constraint=Constraint(zero_mean=True))
    for found in (
        learn(images, other, start_for(images, 6), max_epochs=3, state=state).state,
        other.step(state, images),
    ):
        assert np.abs(found.filters.mean(axis=(2, 3))).max() < 1e-12
        np.testing.assert_allclose(np.sum(found.filters**2, axis=(1, 2, 3)), 1)
    wrong = engine(lam=0.05, constraint=Constraint(window=np.ones((2, 3), bool)))
    for go_on in (lambda: learn(images, wrong, start_for(images, 6), state=state), lambda: wrong.step(state, images)):
        with pytest.raises(ValueError, match="window must have the filters' support"):
            go_on()
    with pytest.raises(ValueError, match="nothing of it is left"):
        other.step(replace(state, filters=np.ones_like(state.filters)), images)


@pytest.mark.parametrize(
    "limits", [{}, {"separable": True, "zero_mean": True}, {"norm": "ball"}, {"nonnegative": True}]
)
def test_filters_in_the_set_keep_their_bits(limits, rng):
    """So that a run in two parts stays that run."""
    engine = Online(lam=0.05, constraint=Constraint(**limits))
    state = engine.init(rng.standard_normal((5, 2, 4, 4)))
    assert engine.taken_up(state) is state
    pytest.importorskip("sporco")
    images = pictures(1, 24)
    theirs = Sporco(lam=0.05, max_iter=5)
    state = theirs.step(theirs.init(start_for(images, 6)), images)
    assert theirs.taken_up(state) is state


def test_a_stream_of_steps_is_what_learn_does():
    images = pictures(3, 24)
    engine, start = Online(lam=0.05, warm=True), start_for(images, 6)
    learned = learn(images, engine, start, max_epochs=1)
    state = engine.init(start)
    for k in np.random.default_rng([0, 0]).permutation(3):
        state = engine.step(state, [images[k]])
    np.testing.assert_array_equal(state.filters, learned.state.filters)
    np.testing.assert_allclose(state.usage, learned.usage)
    assert state.history["objective"] == learned.history["objective"]
    assert (state.step, state.epoch) == (3, 0)
    half = stopped_after(1, images, engine)
    assert engine.step(half, images).so_far == half.so_far
    with pytest.raises(ValueError, match="takes one image a step; got 3"):
        Sporco(lam=0.05).step(state, images)
    with pytest.raises(ValueError, match="masks need"):
        engine.step(state, images, [np.ones((1, 24, 24))] * 3)


@pytest.mark.parametrize("engine", [Online(lam=0.05), Batch(lam=0.05)])
def test_an_epoch_cut_short_begins_anew_where_no_image_is_left(engine):
    images = pictures(4, 24)
    state = stopped_after(3, images)
    assert (state.place, state.epoch) == (3, 0)
    fewer = learn(images[:2], engine, start_for(images, 6), max_epochs=1, state=state).state
    assert (fewer.place, fewer.epoch) == (0, 1)
    assert fewer.step == 3 + (1 if engine.whole else 2)
    same = learn(images, engine, start_for(images, 6), max_epochs=1, state=state).state
    assert same.step == 4
    seen = {name for name in same.memory if name.endswith(".index")}
    assert len(seen) == (4 if engine.whole else 0)


def test_an_image_weighs_the_same_in_an_epochs_mean_whatever_its_step():
    """Five images in steps of four: a bright one that is alone in its step was a half of the epoch's mean."""
    images = pictures(5, 24)
    images[0] = images[0] * 8
    learned = learn(images, Online(lam=0.05, batch_size=4), start_for(images, 6), max_epochs=4)
    rows = np.array(learned.history["objective"]).reshape(4, 2)
    np.testing.assert_allclose(learned.state.by_epoch["objective"], rows @ [0.8, 0.2])
    ended = learn(images, Online(lam=0.05, batch_size=4), start_for(images, 6), max_epochs=30, stop_below=0.02)
    means = np.array(ended.state.by_epoch["objective"])
    gains = -np.diff(means) / means[:-1]
    assert ended.status == "converged"
    assert (gains[:-1] >= 0.02).all()
    assert gains[-1] < 0.02


def test_steps_beside_epochs_do_not_count_for_the_stopping_rule():
    images = pictures(4, 24)
    engine, start = Online(lam=0.05), start_for(images, 6)
    state = learn(images, engine, start, max_epochs=1).state
    for _ in range(3):
        state = engine.step(state, [images[0] * np.float32(0.1)])
    assert learn(images, engine, start, max_epochs=2, state=state, stop_below=1e-4).status == "max_epochs"


def test_validation_images_have_masks_too():
    """What is hidden does not count; nor does it matter that the surrogate learns without masks."""
    images, (held,) = pictures(2, 24), pictures(1, 24, name="coins")
    mask = np.ones((1, 24, 24))
    mask[:, 5:9] = 0
    litter = np.where(mask > 0, held, 9).astype(np.float32)
    given = {"engine": Online(lam=0.05), "max_epochs": 1, "validation_masks": [mask]}
    start = start_for(images, 6)
    found = [
        learn(images, initial=start, validation=[image], **given).state.by_epoch["held_out"] for image in (held, litter)
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-3)


def test_on_the_ball_too_atoms_begin_with_unit_norm():
    images = [image * np.float32(0.01) for image in pictures(2, 32)]
    ball = Constraint(norm="ball")
    start = initial_filters(images, 6, (6, 6), ball)
    np.testing.assert_allclose(np.sum(start**2, axis=(1, 2, 3)), 1)
    engine = Online(lam=0.0005, constraint=ball)
    state = learn(images, engine, start, max_epochs=1).state
    assert state.history["nonzeros"][-1] > 0
    dead = replace(state, usage=np.where(np.arange(6) == 2, 0.0, state.usage + 1))
    revived = revive(engine, dead, [Sample(0, images[0], None)], 1e-3, [0])
    assert np.sum(revived.filters[2] ** 2) == pytest.approx(1)


def test_a_level_that_no_code_exceeds_is_told():
    images = pictures(2, 24)
    learner = ConvDictionaryLearning(n_filters=4, support=(5, 5), lam=1e3)
    stack = np.stack(images)[:, 0]
    for call in (
        lambda: learn(images, Online(lam=1e3), start_for(images, 6), max_epochs=1),
        lambda: learner.partial_fit(stack),
    ):
        with pytest.warns(UserWarning, match=r"no image had a code .*, .* lam=1000.0 is too large") as told:
            call()
        assert told[0].filename == __file__


def test_a_window_of_another_shape_is_named(rng):
    with pytest.raises(ValueError, match="window must have the filters' support"):
        initial_filters([rng.standard_normal((1, 9, 9))], 3, (4, 4), Constraint(window=np.ones((3, 3), bool)))


def test_a_task_may_be_named(tmp_path):
    """Then images that differ by rounding, as on another computer, are those of the same task."""
    images, path = pictures(2, 24), tmp_path / "state.safetensors"
    near = [np.nextafter(image, np.float32(np.inf)) for image in images]
    engine, start = Online(lam=0.05), start_for(images, 6)
    first = learn(images, engine, start, max_epochs=3, callback=lambda s: s.step == 3, checkpoint=path, task="a")
    after = learn(near, engine, start, max_epochs=3, checkpoint=path, task="a")
    assert (first.state.step, after.state.step) == (3, 6)
    for task in ("b", None):
        with pytest.raises(ValueError, match="the state of another task"):
            learn(images, engine, start, checkpoint=path, task=task)


def test_files_that_are_no_states_are_told_with_what_to_do(tmp_path):
    from safetensors.numpy import load_file, save_file

    path = tmp_path / "state.safetensors"
    path.write_bytes(b"litter")
    with pytest.raises(ValueError, match="delete it to begin anew"):
        LearnState.load(path)
    stopped_after(1, pictures(2, 24)).save(path)
    tensors = load_file(path)
    del tensors["history.objective"]
    save_file(tensors, path, {"format": "cscopt-learning-3", "numbers": "{}"})
    with pytest.raises(ValueError, match="no learner's state that this version reads; delete it"):
        LearnState.load(path)


@pytest.mark.parametrize(
    ("seconds", "cost", "wanted"), [(None, 1 / 64, 20), (None, 1 / 4, 4), (0, 1 / 4, 80), (2.5, 1, 8)]
)
def test_states_are_written_each_second_or_as_often_as_costs_little(monkeypatch, seconds, cost, wanted):
    """80 steps of a quarter of a second: how many of their states are kept, where writing takes `cost`."""
    now, kept = [100.0], []
    monkeypatch.setattr(keeper.time, "monotonic", lambda: now[0])

    class Slow:
        def save(self, path, mark):
            kept.append((path, mark))
            now[0] += cost

    states, nowhere = keeper.Keeper("state", "mark", seconds), keeper.Keeper(None, "", seconds)
    for _ in range(80):
        now[0] += 1 / 4
        states.passes(Slow())
        nowhere.passes(Slow())
    assert kept == [("state", "mark")] * wanted
