"""The super-resolution networks: what CISTA is, how many parameters, what they refuse, tiles and ensembles."""

import numpy as np
import pytest

import cscopt

torch = pytest.importorskip("torch")

import learned  # noqa: E402
from learned import CISTA, RLCSC, CRNetA, CRNetB, SelfEnsemble, enlarge, weights  # noqa: E402


def parameters(network):
    return sum(p.numel() for p in network.parameters())


def test_recursions_are_iterations_of_nonnegative_ista(rng):
    """With S = I − flip(f) ⊗ f / L, W = flip(f)/L and bias −λ/L, away from the border."""
    filters, lam, recursions = rng.standard_normal((4, 1, 3, 3)), 0.4, 3
    image = rng.standard_normal((1, 1, 32, 32))
    problem = cscopt.CSCProblem(image, filters, cscopt.L1(lam, nonnegative=True))
    expected = cscopt.solve(problem, "ista", tol=0, max_iter=recursions + 1).codes
    lipschitz = float(problem.lipschitz[0])
    block = CISTA(1, 4, recursions, bias=True, support=3, recursion_support=5).double()
    f = torch.from_numpy(filters[:, 0])
    with torch.no_grad():
        block.W.weight.copy_(f[:, None] / lipschitz)  # conv2d correlates: it flips by itself
        block.W.bias.fill_(-lam / lipschitz)
        gram = torch.nn.functional.conv2d(f[:, None], f[:, None], padding=2)
        block.S.weight.copy_(-gram / lipschitz)
        block.S.weight[range(4), range(4), 2, 2] += 1
        found = block(torch.from_numpy(image)).numpy()
    assert (expected > 0).mean() > 0.02
    inside = (..., slice(8, -8), slice(8, -8))
    shifted = np.roll(expected, (1, 1), (2, 3))  # cscopt's filters begin at index 0, here their centre is 0
    np.testing.assert_allclose(found[inside], shifted[inside], atol=1e-12)


def test_parameters_as_published():
    assert parameters(RLCSC()) == 1_329_408
    assert parameters(RLCSC(128, 128)) == 592_128
    assert parameters(RLCSC(residual=False)) == parameters(CRNetA()) == 1_329_408
    assert 1.85e6 < parameters(CRNetB(maps=256)) < 2.1e6
    assert parameters(RLCSC(8, 16, recursions=2)) == parameters(RLCSC(8, 16, recursions=20))


def test_shapes_and_residual():
    picture = torch.rand(2, 1, 12, 15)
    network = RLCSC(4, 8, 2)
    plain = RLCSC(4, 8, 2, residual=False)
    plain.load_state_dict(network.state_dict())
    torch.testing.assert_close(network(picture), plain(picture) + picture)
    colour = CRNetB(4, 8, 2)
    for scale in (2, 3, 4):
        assert colour(torch.rand(1, 3, 6, 7), scale).shape == (1, 3, 6 * scale, 7 * scale)


def test_scales_that_were_not_trained_are_refused():
    picture = torch.rand(1, 3, 6, 7)
    with pytest.raises(ValueError, match=r"scale must be one the network is trained for \(2, 4\); got 3"):
        CRNetB(4, 8, 2, scales=(2, 4))(picture, 3)
    with pytest.raises(ValueError, match="scale must be given: one of 2, 4"):
        CRNetB(4, 8, 2, scales=(2, 4))(picture)
    with pytest.raises(ValueError, match="trained for"):
        CRNetA(4, 8, 2)(picture[:, :1], 5)
    with pytest.raises(ValueError, match="scales must be distinct"):
        CRNetB(4, 8, 2, scales=(2, 2))
    with pytest.raises(ValueError, match="scales must be at least 2"):
        CRNetA(4, 8, 2, scales=(1,))
    assert CRNetB(4, 8, 2, scales=(2,))(picture).shape == (1, 3, 12, 14)


def test_the_ensemble_commutes_with_flips_and_rotations():
    torch.manual_seed(0)
    plus = SelfEnsemble(CRNetB(4, 8, 2).double())
    picture = torch.rand(1, 3, 9, 9, dtype=torch.float64)
    answer = plus(picture, 2)
    torch.testing.assert_close(plus(picture.flip(3), 2), answer.flip(3))
    torch.testing.assert_close(plus(torch.rot90(picture, 1, (2, 3)), 2), torch.rot90(answer, 1, (2, 3)))
    single = plus.network
    assert not torch.allclose(single(picture.flip(3), 2), single(picture, 2).flip(3))


@pytest.mark.parametrize("make", [lambda: CRNetA(4, 8), lambda: CRNetB(4, 8), lambda: CRNetA(4, 8, 45)])
def test_tiles_are_the_whole(rng, make):
    torch.manual_seed(1)
    network = make()
    low = rng.integers(0, 256, (150, 83, 3)).astype(np.uint8)
    one, other = (enlarge(network, low, 2, tile).astype(int) for tile in (64, 1000))
    assert np.abs(one - other).max() <= 1  # the order of sums may decide a rounding
    assert (one != other).mean() < 1e-3


def test_enlarging_grey_and_colour(rng):
    grey, colour = (rng.integers(0, 256, shape).astype(np.uint8) for shape in ((20, 24), (20, 24, 3)))
    network = CRNetA(4, 8, 2)
    assert enlarge(network, grey, 3).shape == (60, 72)
    assert enlarge(network, colour, 3).shape == (60, 72, 3)
    assert enlarge(None, colour, 2).shape == (40, 48, 3)
    with pytest.raises(ValueError, match="takes RGB pictures; this one is grey"):
        enlarge(CRNetB(4, 8, 2), grey, 2)
    with pytest.raises(ValueError, match=r"picture must be \(batch, 3, height, width\) for CRNetB"):
        CRNetB(4, 8, 2)(torch.rand(1, 1, 9, 9), 2)
    for wrong in (grey / 255, np.repeat(grey[..., None], 4, 2), grey[..., None]):
        with pytest.raises(ValueError, match="picture must be uint8"):
            enlarge(network, wrong, 2)
    with pytest.raises(ValueError, match="tile must be at least 1"):
        enlarge(network, grey, 2, tile=0)
    np.testing.assert_array_equal(enlarge(network.double(), grey, 2).shape, (40, 48))
    network.float()
    torch.nn.init.zeros_(network.H.weight)  # nothing added: interpolation, up to rounding on the way to YCbCr and back
    assert np.abs(enlarge(network, grey, 2).astype(int) - enlarge(None, grey, 2)).max() <= 1


def test_weights_travel(tmp_path):
    network = CRNetB(4, 8, 3, scales=(2, 3))
    path = tmp_path / "b.safetensors"
    weights.save(network, path, {"trained on": "nothing"})
    again = learned.load(path)
    assert again.provenance == {"trained on": "nothing"}
    assert not again.training
    picture = torch.rand(1, 3, 6, 7)
    torch.testing.assert_close(again(picture, 3), network(picture, 3), rtol=0, atol=0)


def test_weights_that_cannot_be_loaded(tmp_path):
    path = tmp_path / "a.safetensors"
    weights.save(CRNetA(4, 8, 2), path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        learned.load(path)
    path.write_bytes(data.replace(b"learned-weights-1", b"learned-weights-7"))
    with pytest.raises(ValueError, match="made by a newer version"):
        learned.load(path)
    path.write_bytes(data.replace(b'\\"maps\\": 8', b'\\"maps\\": 9'))
    with pytest.raises(ValueError, match="does not fit CRNetA"):
        learned.load(path)
    with pytest.raises(ValueError, match="holds no weights of a network"):
        learned.load(cscopt.io.data_folder() / "natural-8x8x32.safetensors")
    with pytest.raises(FileNotFoundError, match="there is no trained network 'crnet-z'"):
        learned.load("crnet-z")


def test_bad_blocks():
    with pytest.raises(ValueError, match="support must be odd; got 4"):
        CISTA(2, 3, support=4)
    with pytest.raises(ValueError, match="maps must be at least 1"):
        RLCSC(4, 0)
    with pytest.raises(TypeError, match="network must be one of RLCSC, CRNetA, CRNetB; got SelfEnsemble"):
        weights.save(SelfEnsemble(CRNetA(4, 8, 2)), "x.safetensors")


def test_torch_compile_gives_the_same():
    torch.manual_seed(0)
    network = RLCSC(4, 8, 2)
    picture = torch.rand(1, 1, 12, 12)
    expected = network(picture)
    network.compile(backend="eager")
    torch.testing.assert_close(network(picture), expected)
