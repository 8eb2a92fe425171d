"""Dictionaries of several supports, and with an impulse."""

import numpy as np
import pytest

from cscopt import ConvDictionary


def test_supports_may_differ(rng):
    small, large = rng.standard_normal((3, 2, 4, 5)), rng.standard_normal((2, 2, 6, 3))
    both = ConvDictionary.joined(small, ConvDictionary(large))
    assert both.filters.shape == (5, 2, 6, 5)
    codes = rng.standard_normal((1, 5, 16, 17))
    apart = ConvDictionary(small).synthesize(codes[:, :3]) + ConvDictionary(large).synthesize(codes[:, 3:])
    np.testing.assert_allclose(both.synthesize(codes), apart, atol=1e-12)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_map_of_an_impulse_is_an_image(rng, channels):
    bank = ConvDictionary(rng.standard_normal((4, channels, 3, 3)).astype(np.float32)).with_impulse()
    assert (bank.n_filters, bank.dtype) == (4 + channels, np.float32)
    codes = np.zeros((1, 4 + channels, 9, 8), np.float32)
    codes[:, 4:] = rng.standard_normal((1, channels, 9, 8))
    np.testing.assert_allclose(bank.synthesize(codes), codes[:, 4:], atol=1e-6)


def test_torch_too(rng):
    torch = pytest.importorskip("torch")
    bank = torch.asarray(rng.standard_normal((2, 1, 3, 3)))
    assert torch.is_tensor(ConvDictionary(bank).with_impulse().filters)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((), "parts must not be empty"),
        ((np.ones((1, 1, 3)), np.ones((1, 1, 3, 3))), "parts must have one number of axes and channels"),
        ((np.ones((1, 1, 3)), np.ones((1, 2, 3))), "parts must have one number of axes and channels"),
        ((np.ones((1, 1, 3)), np.ones((1, 1, 3), np.float32)), "one dtype"),
    ],
)
def test_what_cannot_be_joined(parts, message):
    with pytest.raises(ValueError, match=message):
        ConvDictionary.joined(*parts)
