"""Building banks: in parallel, killed, resumed, refused, on a cluster."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from bank_cases import PATIENCE, alive, busy, put, started, step_of, until, written

import cscopt
from cscopt import ConvDictionary, bank, io, lowpass
from cscopt.bank import Bank, Samples, Spec, build, verify, work
from cscopt.bank.clock import Clock
from cscopt.bank.lock import held
from cscopt.cli import main
from cscopt.dictlearn import LearnState


def test_a_bank_is_built_and_tells_where_it_comes_from(tmp_path, spec, capsys):
    folder = tmp_path / "made" / "bank"
    assert main(["bank", "build", str(spec), "-o", str(folder), "--workers", "2", "--cases", "1", "4"]) == 0
    assert "2 dictionaries" in capsys.readouterr().out
    filled = Bank.open(folder)
    assert [(e.n_filters, e.support, e.lam, e.beta) for e in filled] == [(2, (3, 3), 0.5, 2.0), (3, (3, 3), 1.0, 2.0)]
    one = filled[0]
    dictionary = ConvDictionary.load(one.path)
    np.testing.assert_allclose(dictionary.norms(), 1, rtol=1e-5)
    assert {"engine", "engine_options", "max_epochs", "steps", "cscopt", "history"} <= set(dictionary.provenance)
    assert one.provenance["images"] == "4"
    history = one.history()
    assert history["step"] == list(range(1, 9))
    assert one.held_out == pytest.approx(history["held_out"][-1], rel=1e-5)
    assert one.usage().shape == (2,)
    # the held-out objective is that of the last image without its smooth part
    last = np.load(tmp_path / "images.npz")["stack"][-1:, None].astype(np.float32)
    problem = cscopt.CSCProblem(lowpass.split(last, 2.0)[1], dictionary, 0.5)
    assert one.held_out == pytest.approx(cscopt.solve(problem, tol=1e-4).objective, rel=2e-2)
    assert main(["bank", "list", str(folder)]) == 0
    assert main(["bank", "show", str(folder), one.name]) == 0
    assert main(["bank", "verify", str(folder)]) == 0
    out = capsys.readouterr().out
    assert one.name in out
    assert one.provenance["data_sha256"] in out
    assert "2 dictionaries, all good" in out
    stamps = {p.name: p.stat().st_mtime_ns for p in bank.store.files(folder)}
    assert len(build(spec, folder, workers=1)) == 4
    assert {name: (folder / name).stat().st_mtime_ns for name in stamps} == stamps
    assert [p.name for p in (folder / work.WORK).iterdir()] == ["lock"]


def test_a_killed_build_goes_on_where_it_was(tmp_path, spec):
    """kill -9 of the builder: its workers end too, the lock is free, and the filters are those of a build in one go."""
    written(tmp_path, max_epochs=25, grid={"n_filters": [4, 2], "support": [3], "lam": [0.5], "beta": 2})
    folder = tmp_path / "bank"
    command = ["-m", "cscopt.cli", "bank", "build", str(spec), "-o", str(folder), "--checkpoint-seconds", "0"]
    builder = started(*command, "--workers", "1")
    cases = Spec.read(spec).cases(Samples.of(Spec.read(spec).data, 1))
    states = [folder / work.WORK / f"{case.name}.safetensors" for case in cases]
    until(lambda: step_of(states[0]) > 9, "state of 10 steps")
    with pytest.raises(BlockingIOError, match=rf"bank is being built by process {builder.pid} on"):
        build(spec, folder)
    builder.send_signal(signal.SIGKILL)
    builder.wait()
    until(lambda: not alive(folder), "end of the workers")
    reached = step_of(states[0])
    assert 9 < reached < 100
    assert not bank.store.files(folder)
    steps = []
    learn = work.dictlearn.learn

    def watched(*arguments, callback, **options):
        return learn(*arguments, callback=lambda state: steps.append(state.step) or callback(state), **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work.dictlearn, "learn", watched)
        work.learn_case(cases[0], folder, 10.0)
    assert steps == list(range(reached + 1, 101))
    (folder / ".tmp12345").write_text("half a file of safetensors, which the kill may leave")
    filled = build(spec, folder, workers=1)
    assert len(filled) == 2
    assert not [p for p in folder.rglob(".*") if p.name != work.WORK]
    for case in cases:
        (tmp_path / "whole").mkdir(exist_ok=True)
        cscopt.set_threads(1)
        try:
            work.learn_case(case, tmp_path / "whole", 10.0)
        finally:
            cscopt.set_threads(None)
    for one, other in zip(filled, Bank.open(tmp_path / "whole"), strict=True):
        assert one.history()["step"][-1] == 100
        np.testing.assert_array_equal(one.load().filters, other.load().filters)


def test_a_killed_build_goes_on_where_no_plans_are_kept(tmp_path, spec, rng):
    """Two workers that measured FFT plans of their own, kill -9, and two others that measure again."""
    np.savez(tmp_path / "images.npz", stack=rng.standard_normal((4, 64, 64)))
    written(tmp_path, max_epochs=20, grid={"n_filters": [4, 3], "support": 3, "lam": 0.5, "beta": 2})
    folder = tmp_path / "bank"
    command = ["-m", "cscopt.cli", "bank", "build", str(spec), "-o", str(folder), "--checkpoint-seconds", "0"]
    builder = started(*command, "--workers", "2", CSCOPT_CACHE_DIR=str(tmp_path / "first"))
    names = [case.name for case in Spec.read(spec).cases(Samples.of(Spec.read(spec).data, 1))]
    states = {name: folder / work.WORK / f"{name}.safetensors" for name in names}
    until(lambda: all(step_of(state) > 4 for state in states.values()), "states of 5 steps")
    builder.send_signal(signal.SIGKILL)
    builder.wait()
    until(lambda: not alive(folder), "end of the workers")
    before = {name: io.load_tensors(state)[0]["history.seconds"] for name, state in states.items()}
    again = started(*command, "--workers", "2", CSCOPT_CACHE_DIR=str(tmp_path / "second"))
    assert again.wait(PATIENCE) == 0
    filled = Bank.open(folder)
    assert len(filled) == 2
    for name, seconds in before.items():
        history = filled[name].history()
        assert history["step"] == list(range(1, 61))
        np.testing.assert_allclose(history["seconds"][: len(seconds)], seconds, rtol=1e-5)


def test_a_worker_that_dies_is_replaced(tmp_path, spec):
    written(tmp_path, max_epochs=25, grid={"n_filters": 4, "support": [3], "lam": [0.5], "beta": 2})
    folder = tmp_path / "bank"
    builder = started("-m", "cscopt.cli", "bank", "build", str(spec), "-o", str(folder), "--checkpoint-seconds", "0")
    worker = busy(folder)
    assert worker != builder.pid
    os.kill(worker, signal.SIGKILL)
    assert builder.wait(PATIENCE) == 0
    assert len(Bank.open(folder)) == 1


def test_a_cluster_completes_a_bank_though_a_worker_dies(tmp_path, spec):
    pytest.importorskip("distributed")
    written(tmp_path, max_epochs=25)
    folder, where = tmp_path / "bank", tmp_path / "scheduler.json"
    scheduler = started(
        *("-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"),
        *("--scheduler-file", str(where)),
    )
    working = [
        "-m",
        "distributed.cli.dask_worker",
        *("--scheduler-file", str(where), "--nthreads", "1", "--no-nanny", "--no-dashboard"),
        *("--local-directory", str(tmp_path / "dask")),
    ]
    processes = [scheduler]
    try:
        until(lambda: where.is_file() and where.read_text().rstrip().endswith("}"), "scheduler")
        processes += [started(*working), started(*working)]
        address = json.loads(where.read_text())["address"]
        command = ["-m", "cscopt.cli", "bank", "build", str(spec), "-o", str(folder), "--cluster", address]
        builder = started(*command, "--checkpoint-seconds", "0")
        processes.append(builder)
        worker = busy(folder)
        assert worker in {process.pid for process in processes[1:3]}
        os.kill(worker, signal.SIGKILL)
        assert builder.wait(PATIENCE) == 0
        assert scheduler.poll() is None
        assert sorted(process.poll() is None for process in processes[1:3]) == [False, True]
        assert len(Bank.open(folder)) == 4
        assert not verify(folder)
        assert all(one.history()["step"][-1] == 100 for one in Bank.open(folder))
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_a_second_builder_is_refused_and_a_dead_ones_lock_is_taken_over(tmp_path, spec, capsys):
    folder = tmp_path / "bank"
    folder.mkdir()
    arguments = ["bank", "build", str(spec), "-o", str(folder), "--workers", "1", "--cases", "1"]
    with held(folder / work.WORK / "lock"):
        assert main(arguments) == 2
    assert re.search(r"bank is being built by process \d+ on .* since", capsys.readouterr().err)
    assert not bank.store.files(folder)
    dead = subprocess.run(
        [
            sys.executable,
            "-c",
            "import os, pathlib, sys; from cscopt.bank.lock import held\n"
            "with held(pathlib.Path(sys.argv[1])): os.kill(os.getpid(), 9)",
            str(folder / work.WORK / "lock"),
        ],
        check=False,
    )
    assert dead.returncode == -signal.SIGKILL
    assert main(arguments) == 0


def test_a_task_waits_for_its_twin_and_finds_the_work_done(tmp_path, spec, monkeypatch):
    given = Spec.read(spec)
    case = given.cases(Samples.of(given.data, given.holdout))[0]
    first = work.learn_case(case, tmp_path, 10.0)
    monkeypatch.setattr(work.dictlearn, "learn", None)
    assert work.learn_case(case, tmp_path, 10.0) == first


def test_what_a_kill_after_the_writing_leaves_is_swept(tmp_path):
    """But not under the hands of a process that is at it, nor the work on what is not there."""
    folder = tmp_path / "bank"
    names = [put(folder, np.full((2, 1, 3, 3), value)).stem for value in (1.0, 2.0)] + ["8x8x32-lam0.1-missing"]
    (folder / ".work").mkdir()
    left = {name: {folder / ".work" / f"{name}.{end}" for end in ("safetensors", "json", "lock")} for name in names}
    for path in set().union(*left.values()):
        path.write_text("")
    with held(folder / ".work" / f"{names[1]}.lock"):
        work.sweep(folder, 0.0)
        assert set((folder / ".work").iterdir()) == left[names[1]] | left[names[2]]
    work.sweep(folder, 0.0)
    assert set((folder / ".work").iterdir()) == left[names[2]]
    assert len(Bank.open(folder)) == 2


def test_a_full_disk_leaves_nothing_half_done(tmp_path, spec, monkeypatch):
    given = Spec.read(spec)
    case = given.cases(Samples.of(given.data, given.holdout))[0]
    target, replace = tmp_path / f"{case.name}.safetensors", os.replace

    def full(source, goal):
        if Path(goal) == target:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, goal)

    monkeypatch.setattr(io.os, "replace", full)
    with pytest.raises(OSError, match="No space left on device"):
        work.learn_case(case, tmp_path, 10.0)
    assert not list(tmp_path.glob("*.safetensors")) + list(tmp_path.glob(".*.safetensors"))
    assert step_of(tmp_path / work.WORK / f"{case.name}.safetensors") == 8
    monkeypatch.undo()
    work.learn_case(case, tmp_path, 10.0)
    assert not verify(tmp_path)
    assert len(Bank.open(tmp_path)) == 1


def test_time_left_is_that_of_the_longest_or_of_all(tmp_path, spec):
    """Work done so far took 2 s a unit: all of the first case, and half of the third."""
    given = Spec.read(written(tmp_path, grid={"n_filters": [2, 3], "support": 3, "lam": [0.5, 1], "beta": 2}))
    cases = given.cases(Samples.of(given.data, 1))
    (tmp_path / work.WORK).mkdir()
    clock = Clock(tmp_path, cases, 0, False)
    assert clock.left(cases) is None
    clock.finished(cases[0], 2.0 * cases[0].work)
    told = {"part": 0.5, "seconds": cases[2].work}
    (tmp_path / work.WORK / f"{cases[2].name}.json").write_text(json.dumps(told))
    waiting = cases[1].work + 0.5 * cases[2].work + cases[3].work
    assert clock.left(cases[1:]) == pytest.approx(2 * waiting)
    clock.count = lambda: 9
    assert clock.left(cases[1:]) == pytest.approx(2 * cases[3].work)
    clock.close()


def test_what_an_engine_refuses_is_told_before_any_work(tmp_path, spec, capsys):
    written(tmp_path, engine={"name": "sporco"}, data={"npz": "images.npz", "part": "complex"})
    np.savez(tmp_path / "images.npz", stack=np.ones((3, 12, 12)) * (1 + 1j))
    assert main(["bank", "build", str(spec), "-o", str(tmp_path / "bank"), "--workers", "1"]) == 2
    error = capsys.readouterr().err
    assert "real NumPy images" in error or "sporco" in error
    assert not (tmp_path / "bank").exists()


def test_failures_are_told_after_the_rest_is_built_each_reason_once(tmp_path, spec, monkeypatch):
    """Here filters of constant images, of which zero mean leaves nothing."""
    np.savez(tmp_path / "images.npz", stack=np.zeros((3, 12, 12)))
    written(tmp_path, engine={"constraint": {"zero_mean": True}})
    monkeypatch.setattr(work.dictlearn, "initial_filters", lambda *given: np.ones((given[1], 1, 3, 3)))
    monkeypatch.setattr(bank.builder, "_pool", lambda workers: nullcontext((Here(), 1, lambda: 1)))
    monkeypatch.setattr(work, "set_threads", lambda count: None)
    with pytest.raises(ChildProcessError) as told:
        build(spec, tmp_path / "bank")
    assert str(told.value).startswith("4 of 4 dictionaries failed: ")
    assert str(told.value).count("nothing of it is left") == 1


class Here(Executor):
    """Runs tasks at once, in this process."""

    def submit(self, function, *arguments):
        future = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:  # as a pool does
            future.set_exception(error)
        return future


def test_ctrl_c_costs_no_step_of_any_worker(tmp_path, spec, rng):
    """Though the worker that is done with its step first ends, and a pool without it terminates the other."""
    np.savez(tmp_path / "images.npz", stack=rng.standard_normal((4, 96, 96)))
    written(tmp_path, max_epochs=10000, grid={"n_filters": [48, 2], "support": 5, "lam": 0.5, "beta": 2})
    names = [case.name for case in Spec.read(spec).cases(Samples.of(Spec.read(spec).data, 1))]
    folder = tmp_path / "bank"
    command = [*("-m", "cscopt.cli", "bank", "build", str(spec), "-o", str(folder)), "--checkpoint-seconds", "1e9"]
    builder = subprocess.Popen(
        [sys.executable, *command, "--workers", "2"],
        env={**os.environ, "CSCOPT_NUM_THREADS": "2", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    until(lambda: all((folder / work.WORK / f"{name}.json").exists() for name in names), "step of each")
    builder.send_signal(signal.SIGINT)
    assert builder.wait(PATIENCE) == 130
    until(lambda: not alive(folder), "end of the workers")
    assert all(step_of(folder / work.WORK / f"{name}.safetensors") > 0 for name in names)


def test_a_task_whose_builder_has_gone_ends_with_its_step_and_saves_its_state(tmp_path, spec, monkeypatch):
    given = Spec.read(spec)
    case = given.cases(Samples.of(given.data, given.holdout))[0]
    whole = work.learn_case(case, tmp_path / "whole", 1e9)
    assert whole > 0
    tell = work._teller

    def told(path, steps):
        inner = tell(path, steps)
        return lambda state: (work._STOP.set() if state.step == 3 else None, inner(state))[1]

    with monkeypatch.context() as patch:
        patch.setattr(work, "_teller", told)
        patch.setattr(work, "_STOP", threading.Event())
        with pytest.raises(InterruptedError, match="the state is saved"):
            work.learn_case(case, tmp_path / "bank", 1e9)
        patch.setattr(work, "set_threads", lambda count: None)
        with pytest.raises(InterruptedError, match="the builder has gone"):
            work.task(case, str(tmp_path / "bank"), 1, 1e9)
    assert not bank.store.files(tmp_path / "bank")
    assert step_of(tmp_path / "bank" / work.WORK / f"{case.name}.safetensors") == 3
    work.learn_case(case, tmp_path / "bank", 1e9)
    one, other = (Bank.open(tmp_path / name)[0].load().filters for name in ("bank", "whole"))
    np.testing.assert_array_equal(one, other)


def test_a_state_goes_on_where_the_low_pass_rounds_otherwise(tmp_path, spec, monkeypatch):
    """As on a computer with other vector instructions."""
    given = Spec.read(spec)
    case = given.cases(Samples.of(given.data, given.holdout))[0]
    learn = work.dictlearn.learn

    def stopped(*arguments, callback, **options):
        return learn(*arguments, callback=lambda state: callback(state) or state.step == 3, **options)

    with monkeypatch.context() as patch:
        patch.setattr(work.dictlearn, "learn", stopped)
        with pytest.raises(InterruptedError):
            work.learn_case(case, tmp_path, 0.0)
    split = bank.data.lowpass.split

    def otherwise(*arguments):
        low, high = split(*arguments)
        return low, np.nextafter(high, np.float32(np.inf))

    monkeypatch.setattr(bank.data.lowpass, "split", otherwise)
    steps = []
    monkeypatch.setattr(
        work.dictlearn,
        "learn",
        lambda *arguments, callback, **options: learn(
            *arguments, callback=lambda state: steps.append(state.step) or callback(state), **options
        ),
    )
    work.learn_case(case, tmp_path, 0.0)
    assert steps == [4, 5, 6, 7, 8]


def test_a_line_for_each_dictionary_tells_the_time_left_and_that_no_worker_is_there(tmp_path, spec, capsys):
    given = Spec.read(spec)
    cases = given.cases(Samples.of(given.data, 1))
    clock = Clock(tmp_path, cases, 0, True)
    clock.finished(cases[0], 60.0, cases[1:])
    clock.count = lambda: 0
    clock.show(cases[1:])
    clock.show(cases[1:])
    clock.close()
    told = capsys.readouterr()
    assert told.out.startswith("4 dictionaries to learn\n")
    assert re.search(r"  60 s  \(1 of 4, 0:0\d:\d\d left\)\n", told.out)
    assert told.err.count("there is no worker; waiting for one") == 1


def test_a_state_of_another_task_is_told_with_what_to_do(tmp_path, spec, capsys):
    given = Spec.read(spec)
    case = given.cases(Samples.of(given.data, given.holdout))[0]
    state = tmp_path / "bank" / work.WORK / f"{case.name}.safetensors"
    state.parent.mkdir(parents=True)
    LearnState.first(np.ones((2, 1, 3, 3))).save(state, "other")
    arguments = ["bank", "build", str(spec), "-o", str(tmp_path / "bank"), "--workers", "1", "--cases", "1", "3"]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert f"{case.name} failed: {state} is the state of another task" in error
    assert error.count("delete it to begin anew") == 2
    assert len(Bank.open(tmp_path / "bank")) == 1
    state.unlink()
    assert main(arguments) == 0


def test_a_dictionary_at_which_workers_die_does_not_keep_the_others_from_being_built(tmp_path, spec, monkeypatch):
    given = Spec.read(spec)
    cases = given.cases(Samples.of(given.data, given.holdout))
    poison = max(cases, key=lambda case: case.work)
    tried = []

    class Fragile(Executor):
        """Runs at once, and breaks at one case, as a pool does when a worker is killed."""

        broken = False

        def submit(self, function, case, *arguments):
            future = Future()
            self.broken = self.broken or case.name == poison.name
            if self.broken:
                if case.name == poison.name:
                    tried.append(case.name)
                    (tmp_path / "bank" / work.WORK / f"{case.name}.lock").touch()
                future.set_exception(BrokenExecutor())
            else:
                future.set_result(function(case, *arguments))
            return future

    monkeypatch.setattr(work, "set_threads", lambda count: None)  # they run in this process
    monkeypatch.setattr(bank.builder, "_pool", lambda workers: nullcontext((Fragile(), 1, lambda: 1)))
    told = f"1 of 4 dictionaries failed: {poison.name}: workers died 3 times at it"
    with pytest.raises(ChildProcessError, match=told):
        build(spec, tmp_path / "bank")
    assert tried == 3 * [poison.name]
    assert {entry.name for entry in Bank.open(tmp_path / "bank")} == {case.name for case in cases if case is not poison}


def test_files_of_others_are_not_swept(tmp_path):
    (tmp_path / ".tmp").mkdir()
    (tmp_path / ".tmp-12345").mkdir()
    for name in (".release-please-manifest.json", ".pre-commit-hooks.json", ".my-filters.safetensors"):
        (tmp_path / name).write_text("{}")
    before = set(tmp_path.iterdir())
    ours = [".index-abcd_123.json", ".8x8x32-lam0.1-beta5-1d219e6f-abcd_123.safetensors", ".tmpAbC123"]
    for name in ours:
        (tmp_path / name).write_text("")
    work.sweep(tmp_path, time.time() + 60)
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_bank_can_be_read_where_its_index_cannot_be_written(tmp_path, monkeypatch, code):
    put(tmp_path / "bank", np.ones((2, 1, 3, 3)))

    def refuse(*paths):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(io.os, "replace", refuse)
    assert len(Bank.open(tmp_path / "bank")) == 1


def test_a_file_system_without_locks_is_named(tmp_path, spec, monkeypatch):
    import fcntl

    def refuse(file, flags):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match=r"bank lies on a file system without locks .*; build the bank on another"):
        build(spec, tmp_path / "bank")


def test_workers_that_write_elsewhere_are_found_out(tmp_path, spec, monkeypatch):
    class Elsewhere(Executor):
        def submit(self, function, case, folder, *arguments):
            future = Future()
            (tmp_path / "elsewhere").mkdir(exist_ok=True)
            future.set_result(function(case, str(tmp_path / "elsewhere"), *arguments))
            return future

    monkeypatch.setattr(work, "set_threads", lambda count: None)  # they run in this process
    monkeypatch.setattr(bank.builder, "_cluster", lambda address: nullcontext((Elsewhere(), 1, lambda: 1)))
    monkeypatch.setattr(bank.builder, "_CACHED", 0.1)
    with pytest.raises(ChildProcessError, match=r"4 of 4 dictionaries failed: .* do the workers see another folder"):
        build(spec, tmp_path / "bank", cluster="tcp://there")


@pytest.mark.parametrize(
    ("scheduler", "worker", "message"),
    [
        (None, None, None),
        ("0.0", None, "the scheduler has cscopt 0.0, this process"),
        (None, "0.0", "tcp://there has cscopt 0.0, this process"),
        (ModuleNotFoundError("cscopt"), None, "there is no cscopt where the scheduler or a worker runs"),
    ],
)
def test_a_cluster_has_the_version_of_the_builder(scheduler, worker, message):
    def answer(given, function, *arguments):
        if isinstance(given, Exception):
            raise given
        return given or function(*arguments)

    class Client:
        def run_on_scheduler(self, *call):
            return answer(scheduler, *call)

        def run(self, *call):
            return {"tcp://there": answer(worker, *call)}

    with pytest.raises(ValueError, match=message) if message else nullcontext():
        bank.builder._check_versions(Client())
