"""ConvDictionaryLearning: learning and coding with scikit-learn's interface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from cscopt import checks
from cscopt.backend import Array, is_array, namespace, to_numpy
from cscopt.codes import SparseCodes
from cscopt.dictionary import ConvDictionary
from cscopt.dictlearn.batch import Batch
from cscopt.dictlearn.constraint import Constraint
from cscopt.dictlearn.data import initial_filters
from cscopt.dictlearn.engine import Engine
from cscopt.dictlearn.loop import Learned, learn, once
from cscopt.dictlearn.online import Online
from cscopt.dictlearn.sporco import Sporco

ENGINES: dict[str, type[Engine]] = {engine.name: engine for engine in (Online, Batch, Sporco)}


class ConvDictionaryLearning(TransformerMixin, BaseEstimator):
    r"""Convolutional dictionary learning with scikit-learn's interface.

    minimise over d in the set and x_k:  Σ_k ½‖y_k − Σ_m d_m * x_mk‖² + λ Σ_m ‖x_mk‖₁

    Parameters
    ----------
    n_filters : int, default 32
        Number M of filters.
    support : sequence or array of int, default (8, 8)
        Their shape.
    lam : float, default 0.1
        λ in the units of the images.
    engine : {"online", "batch", "sporco"} or Engine, default "online"
        How to learn. An engine such as ``Online(...)`` brings its own λ and constraint, and then `lam`, `batch_size`
        and `zero_mean` are not used; a search over an engine's options is one over engines, such as
        ``{"engine": [Online(lam=0.1), Online(lam=0.2)]}``.
    max_epochs : int, default 10
        Passes over the images.
    batch_size : int, default 1
        Images of a step (online).
    zero_mean : bool, default False
        Filters of zero mean, which high-passed images ask for.
    init : {"patches", "noise"}, ConvDictionary, array (M, \*support) or (M, C, \*support), optional
        Filters to begin with; "patches" if absent. See `initial_filters`. Given filters bring their own number and
        support, in the place of `n_filters` and `support`.
    channel_axis : int, optional
        Axis of the channels in an image; a bare image has none.
    validation_share : float, default 0
        Share of the images that is held out, for `history_` and the stopping rule.
    stop_below : float, default 1e-4
        Stop when an epoch lowers the objective by less than this share.
    checkpoint : path, optional
        File to go on from after an interruption; see `learn`.
    checkpoint_seconds : float, optional
        Time between two savings of it; see `learn`.
    progress : bool, default False
    random_state : int, Generator or RandomState, default None

    Attributes
    ----------
    components_ : ndarray, (M, \*support), or (M, C, \*support) with a channel axis
        Learned filters.
    dictionary_ : ConvDictionary
        The same.
    history_ : dict of list
        See `LearnState`.
    n_iter_ : int
        Steps done.
    learned_ : Learned
        All that `learn` returned.

    Notes
    -----
    `fit` takes a stack (n, \*space), with a channel axis where `channel_axis` names it, or a list of images of any
    sizes. Weights of pixels are for `learn`, which takes masks.
    """

    def __init__(
        self,
        n_filters: int = 32,
        support: Any = (8, 8),
        lam: float = 0.1,
        engine: Any = "online",
        max_epochs: int = 10,
        batch_size: int = 1,
        zero_mean: bool = False,
        init: Any = None,
        channel_axis: int | None = None,
        validation_share: float = 0.0,
        stop_below: float = 1e-4,
        checkpoint: Any = None,
        checkpoint_seconds: float | None = None,
        progress: bool = False,
        random_state: Any = None,
    ) -> None:
        self.n_filters = n_filters
        self.support = support
        self.lam = lam
        self.engine = engine
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.zero_mean = zero_mean
        self.init = init
        self.channel_axis = channel_axis
        self.validation_share = validation_share
        self.stop_below = stop_below
        self.checkpoint = checkpoint
        self.checkpoint_seconds = checkpoint_seconds
        self.progress = progress
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.three_d_array = False, True
        return tags

    def fit(self, X: Any, y: Any = None) -> ConvDictionaryLearning:
        """Learn filters from images."""
        if self.checkpoint is not None and self.random_state is None:
            raise ValueError("random_state must be an integer where there is a checkpoint: it is the same task then")
        images, seed = self._images(X), _seed(self.random_state)
        share = checks.real_number(self.validation_share, "validation_share")
        if not 0 <= share < 1:
            raise ValueError(f"validation_share must be at least 0 and below 1; got {share}")
        order = np.random.default_rng([seed, 2]).permutation(len(images))
        count = int(np.ceil(share * len(images)))
        if count == len(images):
            raise ValueError("validation_share must leave an image to learn from")
        held_out = [images[k] for k in sorted(order[:count])]
        rest = [images[k] for k in sorted(order[count:])]
        self._keep(
            learn(
                rest,
                self._engine(),
                self._initial(rest, seed),
                max_epochs=self.max_epochs,
                random_state=seed,
                validation=held_out or None,
                stop_below=self.stop_below,
                progress=self.progress,
                checkpoint=self.checkpoint,
                checkpoint_seconds=self.checkpoint_seconds,
            )
        )
        return self

    def partial_fit(self, X: Any, y: Any = None) -> ConvDictionaryLearning:
        """One more pass over some images, in their order.

        From the filters and the statistics there are, if any: `n_filters`, `support` and `init` count the first time.
        """
        images = self._images(X)
        seed = _seed(self.random_state)
        engine, state = self._engine(), None
        initial = getattr(self, "dictionary_", None)
        if initial is None:
            initial = self._initial(images, seed)
        else:
            state = self.learned_.state
        self._keep(once(images, engine, initial, state))
        return self

    def transform(self, X: Any) -> SparseCodes | list[SparseCodes]:
        r"""Codes of images.

        Returns
        -------
        SparseCodes or list of SparseCodes
            Of shape (n, maps, \*space) for a stack, a list of (1, maps, \*space) for a list or an array of arrays.
        """
        check_is_fitted(self, "dictionary_")
        engine = self._engine()
        found = [engine.code(engine.problem(image, self.dictionary_.filters)).sparse_codes for image in self._images(X)]
        return _stacked(found) if is_array(X) and X.dtype != object else found

    def inverse_transform(self, X: SparseCodes | Sequence[SparseCodes]) -> Any:
        r"""Images Σ_m d_m * x_m of codes, with the axes that `fit` takes."""
        check_is_fitted(self, "dictionary_")
        dictionary, boundary = self.dictionary_, self._engine().boundary
        if isinstance(X, SparseCodes):
            return self._bare(dictionary.synthesize(X, boundary))
        return [self._bare(dictionary.synthesize(codes, boundary))[0] for codes in X]

    def score(self, X: Any, y: Any = None) -> float:
        """Minus the mean objective of images, ½‖y − D x‖² + λ‖x‖₁: what a search over settings of one λ compares."""
        check_is_fitted(self, "dictionary_")
        engine = self._engine()
        values = [engine.code(engine.problem(i, self.dictionary_.filters)).objective for i in self._images(X)]
        return -float(np.mean(values))

    def _engine(self) -> Engine:
        if isinstance(self.engine, Engine):
            return self.engine
        kind = ENGINES[checks.choice(self.engine, "engine", tuple(ENGINES))]
        options: dict[str, Any] = {"batch_size": self.batch_size} if kind is Online else {}
        return kind(lam=self.lam, constraint=Constraint(zero_mean=self.zero_mean), **options)

    def _initial(self, images: list[Array], seed: int) -> Any:
        checks.count(self.n_filters, "n_filters", 1)
        if isinstance(self.init, ConvDictionary):
            return self.init
        if is_array(self.init):
            return self.init if self.channel_axis is not None else self.init[:, None]
        kind = "patches" if self.init is None else self.init
        if not isinstance(kind, str) or kind not in ("patches", "noise"):
            raise ValueError(f"init must be 'patches', 'noise', a ConvDictionary or an array; got {kind!r:.60}")
        return initial_filters(images, self.n_filters, self._support(), self._engine().constraint, seed, kind)

    def _support(self) -> tuple[int, ...]:
        if not isinstance(self.support, Sequence) and not is_array(self.support):
            raise TypeError(f"support must be a sequence of integers such as (8, 8); got {self.support!r:.60}")
        shape = to_numpy(self.support).tolist() if is_array(self.support) else self.support
        if isinstance(shape, str) or not isinstance(shape, Sequence):
            raise TypeError(f"support must be a sequence of integers such as (8, 8); got {self.support!r:.60}")
        return tuple(checks.count(n, "support", 1) for n in shape)

    def _axes(self) -> int:
        """Axes of an image, with that of the channels."""
        if isinstance(self.init, ConvDictionary):
            spatial = self.init.filters.ndim - 2
        elif is_array(self.init):
            spatial = self.init.ndim - (1 if self.channel_axis is None else 2)
        else:
            spatial = len(self._support())
        return spatial + (self.channel_axis is not None)

    def _images(self, X: Any) -> list[Array]:
        r"""Images as (channel, \*space)."""
        images, axes = list(X), self._axes()
        if not images:
            raise ValueError("X must hold at least one image")
        for k, image in enumerate(images):
            if not is_array(image):
                raise TypeError(f"X must hold arrays; image {k} is of type {type(image).__name__}")
            if not namespace(image).isdtype(image.dtype, ("numeric", "bool")):
                raise TypeError(f"X must hold numbers; image {k} is of dtype {image.dtype}")
            if image.ndim != axes:
                raise ValueError(
                    f"X must be a stack or list of images with {axes} axes each, as support and channel_axis say "
                    f"(channel_axis={self.channel_axis}); image {k} has shape {tuple(image.shape)}"
                )
            checks.finite(image, f"image {k}")
        if self.channel_axis is None:
            return [image[None, ...] for image in images]
        axis = checks.count(self.channel_axis, "channel_axis", -axes)
        if axis >= axes:
            raise ValueError(f"channel_axis must be an axis of the images; got {axis!r}")
        return [namespace(image).moveaxis(image, axis, 0) for image in images]

    def _bare(self, images: Any) -> Any:
        if self.channel_axis is None:
            return images[:, 0]
        axis = self.channel_axis
        return np.moveaxis(images, 1, axis + 1 if axis >= 0 else axis)

    def _keep(self, learned: Learned) -> None:
        self.learned_ = learned
        self.dictionary_ = learned.dictionary
        filters = learned.dictionary.filters
        self.components_ = filters if self.channel_axis is not None else filters[:, 0]
        self.history_ = learned.history
        self.n_iter_ = learned.state.step


def _seed(random_state: Any) -> int:
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(1 << 31))
    return checks.seed(random_state)


def _stacked(codes: list[SparseCodes]) -> SparseCodes:
    size = int(np.prod(codes[0].shape[1:]))
    index = np.concatenate([one.index + k * size for k, one in enumerate(codes)])
    return SparseCodes(index, np.concatenate([one.values for one in codes]), (len(codes), *codes[0].shape[1:]))
