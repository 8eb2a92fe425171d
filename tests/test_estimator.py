"""ConvDictionaryLearning keeps scikit-learn's promises."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from cscopt import ConvDictionary, ConvDictionaryLearning, SparseCodes, datasets, lowpass
from cscopt.dictlearn import Batch, Constraint, Online, initial_filters

SMALL = {"n_filters": 6, "support": (5, 5), "lam": 0.05, "max_epochs": 2, "random_state": 0}


@pytest.fixture(scope="module")
def stack():
    high = lowpass.split(datasets.picture("camera")[None, None])[1][0, 0]
    return np.stack([high[r : r + 32, 200:232] for r in (60, 100, 140, 180)])


@pytest.fixture(scope="module")
def fitted(stack):
    return ConvDictionaryLearning(**SMALL).fit(stack)


def test_parameters_survive_a_clone():
    learner = ConvDictionaryLearning(**SMALL, engine="batch", zero_mean=True)
    same = clone(learner)
    assert same is not learner
    assert same.get_params() == learner.get_params()
    assert same.set_params(lam=0.2, n_filters=3).get_params()["lam"] == 0.2
    with pytest.raises(ValueError, match="Invalid parameter"):
        learner.set_params(filters=3)


def test_it_must_be_fitted_first(stack):
    learner = ConvDictionaryLearning(**SMALL)
    for call in (learner.transform, learner.score, lambda x: learner.inverse_transform([x])):
        with pytest.raises(NotFittedError):
            call(stack)


def test_fit_repeats_itself(stack, fitted):
    again = ConvDictionaryLearning(**SMALL).fit(list(stack))
    np.testing.assert_array_equal(again.components_, fitted.components_)
    assert again.components_.shape == (6, 5, 5)
    assert again.n_iter_ == 8
    refitted = clone(fitted).fit(stack[:2]).fit(stack)
    np.testing.assert_array_equal(refitted.components_, fitted.components_)
    assert not np.array_equal(clone(fitted).set_params(random_state=1).fit(stack).components_, fitted.components_)


def test_partial_fit_does_the_steps_of_fit(stack):
    """In the order in which `fit` would take them, with a step a call."""
    start = ConvDictionary(initial_filters([image[None] for image in stack], 6, (5, 5)))
    whole = ConvDictionaryLearning(**{**SMALL, "max_epochs": 1}, init=start).fit(stack)
    order = np.random.default_rng([0, 0]).permutation(len(stack))
    parts = ConvDictionaryLearning(**SMALL, init=start)
    for k in order:
        parts.partial_fit(stack[k : k + 1])
    np.testing.assert_allclose(parts.components_, whole.components_, atol=1e-5)
    assert parts.n_iter_ == 4


def test_codes_and_back(stack, fitted):
    codes = fitted.transform(stack)
    assert isinstance(codes, SparseCodes)
    assert codes.shape == (4, 6, 32, 32)
    images = fitted.inverse_transform(codes)
    assert images.shape == stack.shape
    assert np.linalg.norm(images - stack) < 0.6 * np.linalg.norm(stack)
    several = fitted.transform([stack[0], stack[1][:20]])
    ragged = np.empty(2, object)
    ragged[:] = [stack[0], stack[1][:20]]
    assert [c.shape for c in fitted.transform(ragged)] == [c.shape for c in several]
    assert [c.shape for c in several] == [(1, 6, 32, 32), (1, 6, 20, 32)]
    assert [i.shape for i in fitted.inverse_transform(several)] == [(32, 32), (20, 32)]


def test_colour_goes_by_its_axis():
    picture = datasets.picture("astronaut", grey=False)[100:132, 200:240]
    high = np.moveaxis(lowpass.split(np.moveaxis(picture, -1, 0)[None])[1][0], 0, -1)
    for axis in (-1, 2):
        learner = ConvDictionaryLearning(**SMALL, channel_axis=axis).fit([high, high[:30]])
        assert learner.components_.shape == (6, 3, 5, 5)
        assert learner.inverse_transform(learner.transform([high]))[0].shape == high.shape
        stacked = learner.inverse_transform(learner.transform(np.stack([high, high])))
        assert stacked.shape == (2, *high.shape)


def test_pipelines_and_searches(stack):
    """A search over one λ compares the same objective."""
    highpass = FunctionTransformer(lambda x: np.stack([lowpass.split(i[None, None])[1][0, 0] for i in x]))
    pipeline = Pipeline([("high", highpass), ("learn", ConvDictionaryLearning(**SMALL))])
    search = GridSearchCV(pipeline, {"learn__n_filters": [1, 6]}, cv=2).fit(stack)
    assert search.best_params_ == {"learn__n_filters": 6}
    assert search.best_score_ < 0
    assert len(search.best_estimator_.transform(stack)) > 0


def test_a_support_is_any_sequence_of_integers(stack, fitted):
    for support in ([5, 5], np.array([5, 5]), np.array([5, 5], np.uint8), (np.int64(5), 5)):
        again = clone(ConvDictionaryLearning(**{**SMALL, "support": support})).fit(stack)
        np.testing.assert_array_equal(again.components_, fitted.components_)
    for support in (5, "55", np.array(5), np.array([[5, 5]]), np.array([5.0, 5.0]), (5, 5.0), None):
        with pytest.raises(TypeError, match="support must be"):
            ConvDictionaryLearning(**{**SMALL, "support": support}).fit(stack)


def test_engines_options_and_stops(stack):
    batch = ConvDictionaryLearning(**SMALL, engine="batch").fit(stack)
    own = ConvDictionaryLearning(**SMALL, engine=Batch(lam=0.05, constraint=Constraint())).fit(stack)
    np.testing.assert_array_equal(batch.components_, own.components_)
    held = ConvDictionaryLearning(**{**SMALL, "max_epochs": 30}, validation_share=0.25, stop_below=0.1).fit(stack)
    assert held.learned_.status == "converged"
    assert sum(v == v for v in held.history_["held_out"]) == held.n_iter_ // 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_filters": 0}, "n_filters must be at least 1"),
        ({"support": (40, 40)}, "no smaller than the support"),
        ({"support": (5,)}, r"images with 1 axes each, .* \(channel_axis=None\); image 0 has shape"),
        ({"lam": -1.0}, "lam must be positive"),
        ({"engine": "onlin"}, "engine must be"),
        ({"init": "zeros"}, "init must be"),
        ({"validation_share": 1.0}, "validation_share must be"),
        ({"validation_share": 0.9}, "leave an image"),
        ({"max_epochs": 0}, "max_epochs must be"),
        ({"channel_axis": 0}, "images with 3 axes each"),
        ({"channel_axis": 7, "support": (5,)}, "channel_axis must be"),
        ({"checkpoint": "state.safetensors", "random_state": None}, "random_state must be"),
    ],
)
def test_bad_options_get_a_sentence(stack, options, message):
    with pytest.raises(ValueError, match=message):
        ConvDictionaryLearning(**{**SMALL, **options}).fit(stack)
    with pytest.raises(ValueError, match="at least one image"):
        ConvDictionaryLearning(**SMALL).fit([])
    with pytest.raises(ValueError, match="image 0 must be finite"):
        ConvDictionaryLearning(**SMALL).fit(stack * np.nan)


@pytest.mark.parametrize("engine", [Online(lam=0.05, boundary="zero"), Batch(lam=0.05, boundary="none")])
def test_images_of_codes_have_the_boundary_of_the_engine(stack, engine):
    learner = ConvDictionaryLearning(**{**SMALL, "max_epochs": 1}, engine=engine).fit(stack)
    codes = learner.transform(list(stack))
    images = learner.inverse_transform(codes)
    assert images[0].shape == stack[0].shape
    objective = np.mean(
        [np.sum((i - y) ** 2) / 2 + 0.05 * np.abs(c.values).sum() for i, y, c in zip(images, stack, codes, strict=True)]
    )
    assert objective == pytest.approx(-learner.score(stack), rel=2e-2)
