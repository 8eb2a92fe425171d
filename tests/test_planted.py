"""A dictionary that was planted in pictures is found again."""

import numpy as np
import pytest

from cscopt import ConvDictionary
from cscopt.dictlearn import Online, initial_filters, learn


def planted(seed):
    """20 pictures of 16 smooth random atoms, 1 % non-zeros, 40 dB."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    atoms = np.stack([gaussian_filter(rng.standard_normal((8, 8)), 0.8) for _ in range(16)])
    atoms = (atoms / np.sqrt((atoms**2).sum((1, 2), keepdims=True)))[:, None]
    images = []
    for _ in range(20):
        codes = rng.standard_normal((1, 16, 128, 128)) * (rng.random((1, 16, 128, 128)) < 0.01)
        image = ConvDictionary(atoms).synthesize(codes)[0]
        noise = rng.standard_normal(image.shape)
        images.append((image + noise * np.linalg.norm(image) / np.linalg.norm(noise) / 100).astype(np.float32))
    return atoms, images


def recovered(truth, filters):
    """Of each atom the largest correlation with a learned one, over shifts and signs."""
    from scipy.signal import correlate

    return np.array([max(np.abs(correlate(f[0], a[0])).max() for f in filters) for a in truth])


def windows(filters, side, margin=0):
    """Of each filter the window of this side with the largest energy, with so many zeros around."""
    pieces = np.lib.stride_tricks.sliding_window_view(filters[:, 0], (side, side), axis=(1, 2))
    pieces = pieces.reshape((len(filters), -1, side, side))
    heaviest = np.argmax((pieces**2).sum(axis=(2, 3)), axis=1)
    found = pieces[np.arange(len(filters)), heaviest][:, None]
    return ConvDictionary(np.pad(found, ((0, 0), (0, 0), (margin, margin), (margin, margin)))).normalized()


def most_used(learned, count):
    return ConvDictionary(learned.dictionary.filters[np.sort(np.argsort(learned.usage)[-count:])])


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_planted_dictionary_is_found(seed):
    """From noise that knows nothing of it.

    Twice as many atoms as were planted, in a larger window, so that none is missed or cut off; then the windows that
    hold them; then ever fewer, the most used. A large λ first, which tells atoms apart, then a smaller one, which
    biases them less.
    """
    truth, images = planted(seed)
    filters = initial_filters(images, 32, (12, 12), random_state=1000 + seed, kind="noise")
    assert recovered(truth, filters).max() < 0.6

    def taught(filters, lam, epochs):
        return learn(images, Online(lam=lam), filters, max_epochs=epochs, random_state=seed)

    filters = windows(taught(filters, 1.0, 3).dictionary.filters, 8, margin=2)
    filters = windows(taught(filters, 1.0, 3).dictionary.filters, 8)
    for count in (28, 24, 20):
        filters = most_used(taught(filters, 1.0, 1), count)
    for lam, count in ((0.7, 20), (0.5, 16), (0.5, 16)):
        filters = most_used(taught(filters, lam, 2), count)
    found = recovered(truth, filters.filters)
    assert found.min() > 0.99, found
