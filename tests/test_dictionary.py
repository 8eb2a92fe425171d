"""Dictionaries of several supports, with an impulse, and products with colours."""

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


def test_products_colour_every_filter(rng):
    """D X Bᵀ, written out."""
    filters, colours = rng.standard_normal((4, 1, 3, 5)), rng.standard_normal((3, 2))
    codes = rng.standard_normal((2, 8, 9, 8))
    plain = ConvDictionary(filters)
    by_colour = [
        sum(plain.synthesize(np.eye(4)[m][:, None, None] * codes[:, j::2])[:, 0] for m in range(4)) for j in (0, 1)
    ]
    expected = np.einsum("cj,jbhw->bchw", colours, by_colour)
    np.testing.assert_allclose(ConvDictionary.product(plain, colours).synthesize(codes), expected, atol=1e-12)
    single = ConvDictionary.product(filters.astype(np.float32), np.array([[1], [2]]))
    assert (single.dtype, single.filters.shape) == (np.float32, (4, 2, 3, 5))
    np.testing.assert_array_equal(single.filters[:, 1], 2 * filters[:, 0].astype(np.float32))


@pytest.mark.parametrize(
    ("filters", "channels", "message"),
    [
        (np.ones((2, 3, 4, 4)), np.ones((3, 2)), r"filters must have one channel.*got shape \(2, 3, 4, 4\)"),
        (np.ones((2, 1, 4, 4)), np.ones(3), r"channels must be \(C, J\), a colour a column.*got shape \(3,\)"),
        (np.ones((2, 1, 4, 4)), np.ones((3, 0)), r"channels must be \(C, J\)"),
        (np.ones((2, 1, 4, 4)), np.ones((3, 2), complex), "channels must be real; got complex128"),
        (np.ones((2, 1, 4, 4)), np.diag([1.0, 0, 1]), "channels must be finite and have no zero column"),
        (np.ones((2, 1, 4, 4)), np.full((3, 2), np.nan), "channels must be finite"),
    ],
)
def test_what_is_no_product(filters, channels, message):
    with pytest.raises((ValueError, TypeError), match=message):
        ConvDictionary.product(filters, channels)


def test_torch_too(rng):
    torch = pytest.importorskip("torch")
    bank = torch.asarray(rng.standard_normal((2, 1, 3, 3)))
    assert torch.is_tensor(ConvDictionary(bank).with_impulse().filters)
    assert torch.is_tensor(ConvDictionary.product(bank, np.ones((3, 1))).filters)


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
