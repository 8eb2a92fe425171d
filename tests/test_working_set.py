"""The working set: the optimum of every L1 problem it serves, its certificate, its sparse codes, and its kernels."""

import math
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from cscopt import (
    L1,
    ConvDictionary,
    CSCProblem,
    FunctionOperator,
    SparseCodes,
    certify,
    datasets,
    debias,
    lowpass,
    set_threads,
    solve,
)
from cscopt.kernels import Levels, reference
from cscopt.kernels.descent import _first_band
from cscopt.kernels.sites import Sites, three
from cscopt.kernels.team import together, wait
from cscopt.kernels.tiles import Correlator, _cheapest, cuts
from cscopt.operators import Blur
from cscopt.solvers import WorkingSet
from cscopt.solvers.local_dual import local_scale
from cscopt.solvers.working_set import item_of
from cscopt.synthesis import Synthesis

pytestmark = pytest.mark.usefixtures("all_threads")

CASES = {
    "plain": {},
    "float32": {"dtype": "float32"},
    "zero": {"boundary": "zero"},
    "none": {"boundary": "none"},
    "symmetric": {"boundary": "symmetric"},
    "symmetric, mask, λ map": {"boundary": "symmetric", "mask": True, "lam": "map"},
    "symmetric, colour, non-negative": {
        "boundary": "symmetric",
        "nonnegative": True,
        "shape": (2, 3, 21, 19),
        "filters": (5, 3, 4, 3),
    },
    "symmetric, grey on colour": {"boundary": "symmetric", "shape": (2, 3, 21, 19)},
    "symmetric, 3-D": {"boundary": "symmetric", "shape": (1, 1, 11, 12, 9), "filters": (3, 1, 3, 2, 4)},
    "symmetric, long lines, complex": {"boundary": "symmetric", "shape": (1, 1, 13, 140), "dtype": "complex128"},
    "symmetric, support as large as the image": {
        "boundary": "symmetric",
        "shape": (1, 1, 5, 6),
        "filters": (3, 1, 5, 6),
    },
    "mask": {"mask": True},
    "mask, none": {"mask": True, "boundary": "none"},
    "non-negative": {"nonnegative": True},
    "λ a filter": {"lam": "filter"},
    "λ map": {"lam": "map"},
    "λ map an item, none": {"lam": "item", "boundary": "none"},
    "colour filters": {"shape": (2, 3, 21, 19), "filters": (5, 3, 4, 3)},
    "grey filters on colour": {"shape": (2, 3, 21, 19), "mask": True},
    "long lines": {"shape": (2, 1, 13, 140)},
    "long lines, mask": {"shape": (2, 1, 13, 140), "mask": True, "boundary": "none"},
    "long lines, complex": {"shape": (1, 1, 13, 140), "dtype": "complex128"},
    "1-D": {"shape": (2, 1, 301), "filters": (4, 1, 9)},
    "1-D, long atoms": {"shape": (1, 1, 301), "filters": (3, 1, 70)},
    "3-D": {"shape": (1, 1, 11, 12, 9), "filters": (3, 1, 3, 2, 4)},
    "support as large as the image": {"shape": (1, 1, 5, 6), "filters": (3, 1, 5, 6)},
    "one pixel": {"filters": (3, 1, 1, 1)},
    "complex": {"dtype": "complex128"},
    "complex, mask": {"dtype": "complex128", "mask": True, "boundary": "none"},
    "complex data, real codes": {"dtype": "complex128", "real_codes": True, "nonnegative": True},
}


def make(rng, shape=(2, 1, 41, 37), filters=(5, 1, 4, 3), share=0.1, lam="number", dtype="float64", **options):
    """A random problem with λ a share of λ_max."""
    signal = rng.standard_normal(shape).astype(dtype)
    if np.dtype(dtype).kind == "c":
        signal = signal + 1j * rng.standard_normal(shape)
    bank = rng.standard_normal(filters).astype(np.empty(0, dtype).real.dtype)
    nonnegative = options.pop("nonnegative", False)
    if options.pop("mask", False):
        options["mask"] = (rng.random(shape) > 0.3) * rng.uniform(0.5, 1.5, shape)
    top = CSCProblem(signal, bank, L1(1.0, nonnegative), **options)
    level = share * top.lambda_max
    shapes = {"number": (), "filter": (len(bank),), "map": top.codes_shape[1:], "item": top.codes_shape}
    return CSCProblem(signal, bank, L1(level * rng.uniform(0.5, 2, shapes[lam]), nonnegative), **options)


@pytest.mark.parametrize("case", CASES)
def test_it_finds_the_optimum(rng, case):
    """Its objective and FISTA's differ by less than their certificates, and the certificate is that of the codes."""
    problem = make(rng, **CASES[case])
    tol = 1e-4 if problem.real == np.float32 else 1e-9
    sol = solve(problem, "working-set", tol=tol, max_iter=3000)
    assert sol.status == "converged"
    assert sol.codes.shape == problem.codes_shape
    assert sol.codes.dtype == problem.code_dtype
    other = solve(problem, "fista", tol=tol, max_iter=30000)
    np.testing.assert_allclose(sol.objectives, other.objectives, rtol=2 * tol)
    checked = certify(problem, sol.codes)
    np.testing.assert_allclose(checked.objective, sol.objectives, rtol=1e-5 if tol > 1e-8 else 1e-11)
    assert (checked.gap <= 100 * tol).all()
    np.testing.assert_allclose(sol.reconstruction, problem.synthesis.apply(sol.codes), rtol=1e-4, atol=1e-5)


def test_the_gap_bounds_the_error(rng):
    problem = make(rng, share=0.02)
    best = solve(problem, "working-set", tol=1e-11, max_iter=5000).objective
    for tol in (1e-1, 1e-2, 1e-4):
        sol = solve(problem, "working-set", tol=tol)
        assert 0 <= sol.objective - best <= sol.gap * sol.objective


def test_no_gap_is_negative(rng):
    """Just below λ_max a float32 objective may round below its own bound."""
    for _ in range(20):
        image = rng.standard_normal((1, 1, 9, 8)).astype(np.float32)
        filters = rng.standard_normal((3, 1, 3, 3)).astype(np.float32)
        problem = CSCProblem(image, filters, 1.0, boundary="none")
        problem = problem.with_penalty(L1(problem.lambda_max * (1 - 10 ** rng.uniform(-5, -2))))
        for method in ("working-set", "fista"):
            found = solve(problem, method, tol=1e-6, max_iter=200)
            assert min(found.history["gap"]) >= 0
            assert found.gap >= 0
            assert float(certify(problem, found.codes).gap[0]) >= 0


def test_sparse_codes(rng, tmp_path):
    for case in ("plain", "grey filters on colour", "none", "zero", "symmetric", "1-D"):
        problem = make(rng, **CASES[case])
        sol = solve(problem, "working-set", tol=1e-3)
        sparse = sol.sparse_codes
        assert len(sparse) == sol.nonzeros == np.count_nonzero(sol.codes) > 0
        np.testing.assert_array_equal(sparse.to_dense(), sol.codes)
        np.testing.assert_allclose(
            sparse.synthesize(problem.dictionary, problem.boundary),
            problem.dictionary.synthesize(sol.codes, problem.boundary),
            atol=1e-12,
        )
        sparse.save(tmp_path / "codes.safetensors")
        again = solve(problem, "working-set", tol=1e-3, x0=SparseCodes.load(tmp_path / "codes.safetensors"))
        assert again.iterations == 0
        dense = solve(problem, "admm", tol=1e-3)
        np.testing.assert_array_equal(dense.sparse_codes.to_dense(), dense.codes)
        assert solve(problem, "fista", tol=2e-2, x0=sparse).iterations == 0
    with pytest.raises(ValueError, match="codes must have shape"):
        solve(make(rng), "working-set", x0=sparse)


@pytest.mark.parametrize("case", ["plain", "mask, none", "symmetric", "grey filters on colour", "complex"])
def test_debiasing_is_least_squares_on_the_support(rng, case):
    """The gradient of the data term vanishes on the support, and the support is the solution's."""
    problem = make(rng, **CASES[case])
    sol = solve(problem, "working-set", tol=1e-3)
    found = debias(sol, tol=1e-10)
    np.testing.assert_array_equal(found.index, sol.sparse_codes.index)
    gradient = problem.gradient(found.to_dense())
    assert np.abs(gradient.reshape(-1)[found.index]).max() < 1e-8 * problem.lambda_max
    admm = solve(problem, "admm", tol=1e-3)
    assert len(debias(admm)) == admm.nonzeros


def test_debiasing_says_where_it_did_not_get_to_the_end(rng):
    sol = solve(make(rng), "working-set", tol=1e-3)
    with pytest.warns(UserWarning, match=r"item 0: .* left after 1 iterations, tol=1e-06"):
        debias(sol, max_iter=1)


def test_parts_of_real_codes_are_their_moduli(rng):
    signal, filters = rng.standard_normal((1, 1, 32, 32)), rng.standard_normal((3, 1, 4, 4))
    parts, moduli = (solve(CSCProblem(signal, filters, L1(5.0, parts=p)), tol=1e-8) for p in (True, False))
    assert parts.solver.name == "working-set"
    np.testing.assert_array_equal(parts.codes, moduli.codes)


def test_it_says_that_parts_are_what_it_does_not_serve(rng):
    image = rng.standard_normal((1, 1, 8, 8)) + 1j * rng.standard_normal((1, 1, 8, 8))
    problem = CSCProblem(image, rng.standard_normal((2, 1, 3, 3)), L1(0.5, parts=True))
    with pytest.raises(ValueError, match="moduli of complex codes, not parts=True"):
        solve(problem, "working-set")


def test_what_it_cannot_serve(rng):
    mirror = FunctionOperator(lambda x: x[..., ::-1], lambda x: x[..., ::-1], (1, 12, 12), (1, 12, 12), 1.0)
    signal, bank = rng.standard_normal((1, 1, 12, 12)), rng.standard_normal((3, 1, 3, 3))
    for forward in (mirror, Blur((1, 12, 12), np.ones((2, 2)) / 4, "zero"), Blur((1, 12, 12), np.ones((12, 1)))):
        told = "working-set serves no forward= but a Blur of boundary 'circular' or 'none', for a problem of bound"
        with pytest.raises(ValueError, match=told):
            solve(CSCProblem(signal, bank, 0.1, forward=forward), "working-set")
    torch = pytest.importorskip("torch")
    told = "working-set serves NumPy arrays only; use 'primal-dual', 'admm', 'fista' or 'ista'"
    with pytest.raises(TypeError, match=told):
        solve(CSCProblem(torch.from_numpy(signal), torch.from_numpy(bank), 0.1), "working-set")


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_same_threads_give_the_same_answer(rng, threads):
    problem = make(rng, shape=(1, 1, 150, 40), share=0.02)
    set_threads(threads)
    try:
        first, second = (solve(problem, "working-set", tol=1e-6) for _ in range(2))
    finally:
        set_threads(None)
    np.testing.assert_array_equal(first.codes, second.codes)
    assert first.objective == pytest.approx(solve(problem, "working-set", tol=1e-6).objective, rel=2e-6)


def test_many_at_once(rng):
    """Solves in several threads of a program do not wait for each other for ever, nor mix."""
    problems = [make(rng, shape=(1, 1, 120, 40)) for _ in range(4)]
    alone = [solve(p, "working-set", tol=1e-6).codes for p in problems]
    found = [None] * len(problems)

    def work(k):
        found[k] = solve(problems[k], "working-set", tol=1e-6).codes

    set_threads(3)
    try:
        threads = [threading.Thread(target=work, args=(k,)) for k in range(len(problems))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
            assert not thread.is_alive()
    finally:
        set_threads(None)
    for a, b in zip(found, alone, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)


def test_a_member_that_waits_leaves_the_processor_to_others():
    """A team beside other work would otherwise lose a time slice at each of its thousands of barriers."""
    wait(np.zeros(1, np.int64), 1)  # compiles

    def work(member, size, barrier):
        if member == 1:
            time.sleep(0.5)
        began = time.thread_time()
        wait(barrier, size)
        return time.thread_time() - began

    set_threads(2)
    try:
        assert max(together(work, 2)) < 0.2
    finally:
        set_threads(None)


def test_ctrl_c_at_any_moment_leaves_no_member_waiting():
    """It is raised in the main thread, wherever that is: were it a member, the others would wait for ever."""
    script = """
import signal, numpy as np
from cscopt import set_threads
from cscopt.kernels.team import together, wait
signal.signal(signal.SIGINT, signal.default_int_handler)
set_threads(2)
wait(np.zeros(1, np.int64), 1)
def work(member, size, barrier):
    if member == press:
        signal.raise_signal(signal.SIGINT)
    wait(barrier, size)
    return member
for press in (0, 1):
    try:
        print(together(work, 2))
    except KeyboardInterrupt:
        print("interrupted")
press = None
print(together(work, 2))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.split("\n")[:3] == ["interrupted", "interrupted", "[0, 1]"]


def test_it_keeps_no_array_of_the_maps_size():
    """1200², 64 filters: maps of 369 MB each; the solve stays below half of one."""
    script = """
import resource, numpy as np
from cscopt import CSCProblem, solve
rng = np.random.default_rng(0)
bank = rng.standard_normal((64, 1, 8, 8)).astype("float32")
small = CSCProblem(rng.standard_normal((1, 1, 64, 64)).astype("float32"), bank, 36.0)
solve(small, "working-set", max_iter=2)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
problem = CSCProblem(rng.standard_normal((1, 1, 1200, 1200)).astype("float32"), bank, 36.0)
sol = solve(problem, "working-set", tol=1e-3)
assert sol.status == "converged" and sol.nonzeros, sol
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 0.5 * 1200**2 * 64 * 4 / 2**20


GRIDS = [((64, 64), (8, 8)), ((47, 61), (5, 6)), ((201,), (9,)), ((13, 11, 17), (3, 4, 5)), ((300, 270), (12, 12))]
GRIDS += [((5, 6), (5, 6)), ((3000,), (300,))]


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("weight", ["none", "shared", "maps"])
@pytest.mark.parametrize(("grid", "support"), GRIDS, ids=str)
def test_picks_of_tiles(rng, grid, support, weight, nonnegative):
    """The largest of all maps, and of each cell, are those of the whole correlation."""
    for groups, channels in ((1, 1), (2, 1), (1, 3)):
        bank = rng.standard_normal((6, channels, *support))
        image = rng.standard_normal((groups, channels, *grid))
        level = rng.uniform(0.5, 1, (groups, 6))
        shape = {"none": None, "shared": (1, 1, *grid), "maps": (1, 6, *grid)}[weight]
        levels = Levels(level, None if shape is None else rng.uniform(0.5, 2, shape), nonnegative)
        synthesis = Synthesis(bank, grid, "circular", max(groups, channels))
        maps = reference.analyze(synthesis.spectrum(image.reshape((1, -1, *grid))), synthesis.filters)
        size = (maps if nonnegative else np.abs(maps)) / levels.full().reshape(
            (groups, 6, *([1] * len(grid) if shape is None else grid))
        )
        for cell in (1, 3):
            correlator = Correlator(bank, grid, np.float64, cell)
            worst, found, cells = correlator.pick(image, levels, 4.0)
            assert cells.max(initial=0) == pytest.approx(worst if worst > 4 else 0, rel=1e-10)
            assert np.count_nonzero(cells) == len(found)
            assert worst == pytest.approx(max(size.max(), 0), rel=1e-10)
            assert worst == correlator.worst(image, levels)
            assert sorted(found) == sorted(best_of_cells(size, grid, cell, 4.0))


def best_of_cells(size, grid, cell, threshold):
    """Keys of the largest entry of each cell by brute force."""
    groups, maps = size.shape[:2]
    keys = np.arange(size.size).reshape((groups, *grid, maps))  # (group, place, map)
    sides = [-(-n // cell) for n in grid]

    def of_cells(values, fill):
        """(cells, all that lies in one)"""
        widths = [(0, 0), *((0, s * cell - n) for s, n in zip(sides, grid, strict=True)), (0, 0)]
        split = np.pad(values, widths, constant_values=fill)
        split = split.reshape((groups, *(k for s in sides for k in (s, cell)), maps))
        ndim = len(grid)
        split = np.transpose(split, (0, *range(1, 2 * ndim, 2), *range(2, 2 * ndim + 1, 2), 2 * ndim + 1))
        return split.reshape((groups * math.prod(sides), -1))

    sizes, names = of_cells(np.moveaxis(size, 1, -1), -np.inf), of_cells(keys, -1)
    best = sizes.argmax(axis=1)
    rows = np.arange(len(best))
    return names[rows, best][sizes[rows, best] > threshold]


@pytest.mark.parametrize(("grid", "support"), GRIDS, ids=str)
def test_scales_fall_under_every_violating_atom(rng, grid, support):
    """s ≤ 1/v at all pixels under an atom that violates its bound by v, and one far away from all."""
    extents, reach = three(grid), three(support)
    for cell in (1, 2):
        sides = tuple(min(cell, n) for n in extents)
        violation = np.zeros((2, *(-(-n // c) for n, c in zip(extents, sides, strict=True))))
        place = tuple(int(rng.integers(n)) for n in violation.shape[1:])
        violation[(1, *place)] = 1.5
        scale = local_scale(violation, cell, tuple((0, k) for k in reach), extents)
        assert scale.shape == (2, *extents)
        assert np.all(scale[0] == 1)
        under = np.ix_(*(np.arange(p * c, p * c + c + k - 1) % n
                         for p, c, k, n in zip(place, sides, reach, extents, strict=True)))  # fmt: skip
        assert scale[1][under].max() <= 1 / 1.5 + 1e-12


def test_atoms_that_overlap_much_do_not_make_it_diverge():
    """Cosines with a constant among them, whose correlations with their neighbours are near one."""
    waves = np.cos(np.pi * (np.arange(8)[:, None] + 0.5) * np.arange(8)[None, :] / 8)
    bank = ConvDictionary(np.einsum("ai,bj->ijab", waves, waves).reshape((64, 1, 8, 8))).normalized()
    place = np.random.default_rng(0).random((48, 48))
    picture = datasets.picture("camera")[60:108, 220:268].astype(np.float64)
    picture = np.where(place < 0.075, 0.0, np.where(place > 0.925, 1.0, picture))[None, None]
    for lam in (0.2, 1.0):
        problem = CSCProblem(picture, bank, lam * np.where(np.arange(64) == 0, 0.1, 1.0))
        found = solve(problem, "working-set", tol=1e-2, max_iter=200)
        objectives = np.array(found.history["objective"])
        assert np.all(np.diff(objectives) <= 1e-4 * objectives[:-1])
        assert found.objective == pytest.approx(solve(problem, "admm", tol=1e-3).objective, rel=1e-2)


def test_a_gap_is_the_sum_of_places_not_the_worst_of_all(rng):
    """Sixteen times the picture, with one place in it that is harder: as many iterations, and a bound that holds."""
    picture = datasets.picture("camera")[:64, :64]
    small = lowpass.split(picture[None, None])[1].astype(np.float64)
    bank = rng.standard_normal((8, 1, 6, 6))
    bank /= np.sqrt((bank**2).sum(axis=(1, 2, 3), keepdims=True))
    large = np.tile(small, (1, 1, 4, 4)) + 0.01 * rng.standard_normal((1, 1, 256, 256))
    counts = [solve(CSCProblem(y, bank, 0.05), "working-set", tol=1e-3).iterations for y in (small, large)]
    assert counts[1] <= counts[0] + 2


@pytest.mark.parametrize("case", CASES)
def test_a_dual_point_scaled_by_place_bounds_the_optimum(rng, case):
    problem = make(rng, **CASES[case])
    double = "float32" not in str(problem.real)
    best = solve(problem, "working-set", tol=1e-9 if double else 1e-6).objectives
    solver = WorkingSet(sweeps=2)
    state, better = solver.init(problem), 0
    for _ in range(8):
        for item, residual in enumerate(state.residual.reshape((problem.batch, -1))):
            dual = item_of(problem, item).local_dual(residual, state.cells[item])
            assert dual <= best[item] * (1 + (1e-12 if double else 1e-5))
            better += dual > state.dual[item]
        state = solver.step(problem, state)
    assert better or case == "symmetric, 3-D"  # whose image is all one neighbourhood


@pytest.mark.parametrize("n", [5, 12, 37, 97, 256, 500, 1001, 4096, 100_003])
@pytest.mark.parametrize("k", [1, 3, 5])
def test_tiles_cover_the_grid(n, k):
    """Tiles hold what they keep and the atoms beyond it; longer ones only where they transform fewer pixels."""
    for axis in cuts(n, k, 2):
        whole = axis == (n, n)
        assert whole or (axis.step + k - 1 <= axis.length and (axis.step % 2 == 0 or axis.step == n))
        assert whole or axis.length % 4 == 0
    (chosen,) = _cheapest((n,), [cuts(n, k, 2)])
    assert -(-n // chosen.step) * chosen.length <= max(1.5 * (n + k), 16)


@pytest.mark.parametrize(
    ("grid", "support"),
    [((192,) * 3, (12,) * 3), ((1024, 1024), (200, 200)), ((4096, 4096), (12, 12)), ((65536,), (500,))],
)
def test_spectra_of_tiles_stay_small(grid, support):
    assert (
        np.prod([axis.length for axis in _cheapest(grid, [cuts(n, k, 2) for n, k in zip(grid, support, strict=True)])])
        <= 1 << 19
    )


@pytest.mark.parametrize("team", [1, 2, 3, 8])
def test_bands_are_shared_out_by_content(rng, team):
    """Each band of a colour is one member's, in order, and no member has much more than its share."""
    sizes = rng.integers(0, 1000, 41) * (rng.random(41) < 0.7)
    bands = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    for color in (0, 1):
        first = [_first_band(bands, color, 2, member, team) for member in range(team + 1)]
        assert first == sorted(first)
        shares = [sum(sizes[b] for b in range(first[k], first[k + 1], 2)) for k in range(team)]
        assert sum(shares) == sizes[color::2].sum()
        assert max(shares) <= sizes[color::2].sum() / team + sizes.max()
    empty = np.zeros(5, np.int64)
    assert _first_band(empty, 0, 2, 0, team) == _first_band(empty, 0, 2, team, team) == 4


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
@pytest.mark.parametrize(("grid", "support"), GRIDS, ids=str)
def test_atoms_one_by_one(rng, grid, support, dtype):
    """D x, W² D x, and Dᴴ y at the non-zeros, against convolution; atoms that wrap around included."""
    tol = 1e-10 if dtype == "float64" else 2e-4
    for groups, channels in ((1, 1), (2, 1), (1, 3)):
        real = np.empty(0, dtype).real.dtype
        bank = rng.standard_normal((6, channels, *support)).astype(real)
        codes = rng.standard_normal((1, groups * 6, *grid)) * (rng.random((1, groups * 6, *grid)) < 0.1)
        synthesis = Synthesis(bank, grid, "circular", max(groups, channels), np.zeros(1, dtype))
        sparse = SparseCodes.from_dense(codes.astype(dtype))
        np.testing.assert_allclose(synthesis.apply_sparse(sparse), synthesis.apply(codes.astype(dtype)), atol=tol * 20)
        sites = Sites(bank, grid, groups)
        place, m = np.nonzero(codes.reshape((groups, 6, -1)).transpose(0, 2, 1).reshape((-1, 6)))
        keys = place * 6 + m
        image = rng.standard_normal((1, max(groups, channels), *grid)).astype(dtype)
        wanted = synthesis.adjoint(image).reshape((groups, 6, -1)).transpose(0, 2, 1).reshape((-1, 6))[place, m]
        np.testing.assert_allclose(sites.correlations(image.reshape(-1), keys), wanted, atol=tol * 20)
        weight = rng.uniform(0, 1, image.size).astype(real)
        squares = ConvDictionary(bank**2).operator(grid, channels=max(groups, channels))
        wanted = squares.adjoint(weight.reshape(image.shape)).reshape((groups, 6, -1)).transpose(0, 2, 1)
        np.testing.assert_allclose(
            sites.curvatures(weight, keys), wanted.reshape((-1, 6))[place, m], atol=2e-3 if tol > 1e-9 else 1e-10
        )
