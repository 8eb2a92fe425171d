"""Training: a small RL-CSC beats bicubic, the residual helps, a killed run goes on exactly, bad input is refused."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

import learned  # noqa: E402
from learned import RLCSC, cli, parts, weights  # noqa: E402
from learned.data.sr import SRPatches, bundled  # noqa: E402
from learned.evaluate import PUBLISHED, evaluate, means, score  # noqa: E402
from learned.task import calm  # noqa: E402
from learned.train import fit, parse  # noqa: E402

SHARED = Path(__file__).parents[2] / "shared" / "data" / "sr"
TINY = {
    "ema": 0.9,
    "save_every": 5,
    "model": {"network": {"class_path": "learned.CRNetA", "init_args": {"features": 4, "maps": 4, "recursions": 1}}},
    "data": {"sources": ["bundled"], "patch": 16, "batch_size": 3, "shrink": [0.4]},
    "trainer": {
        "max_steps": 120, "accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False,
        "log_every_n_steps": 1,
    },
}  # fmt: skip


NATIVE = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
"""Elsewhere bfloat16 is emulated, ten times slower than float32."""


def train(network, patches, steps, rate=2e-3):
    """Losses of each step."""
    network.train()
    optimizer = torch.optim.Adam(network.parameters(), rate)
    losses = []
    for n in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (n + 1) / 20)
        given, target, _ = patches[n]
        with torch.autocast("cpu", torch.bfloat16, enabled=NATIVE):
            loss = (network(given) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    network.eval()
    return losses


@pytest.fixture(scope="module")
def patches(tmp_path_factory):
    """Of all bundled pictures but one."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, image in bundled().items():
        if name != "astronaut":
            iio.imwrite(folder / f"{name}.png", image)
    return SRPatches([folder], [2], patch=33, batch_size=8)


@pytest.mark.slow
def test_a_small_rlcsc_beats_bicubic_on_a_picture_it_has_not_seen(patches):
    torch.manual_seed(0)
    network = RLCSC(16, 16, 5)
    calm(network)
    train(network, patches, 200)
    held_out = {"astronaut": bundled()["astronaut"][:256]}
    (result,) = score(network, held_out, [2])
    assert result.psnr > result.bicubic_psnr + 0.3
    assert result.ssim > result.bicubic_ssim


@pytest.mark.slow
def test_the_residual_helps_early(patches):
    for seed in range(3):
        late = []
        for residual in (True, False):
            torch.manual_seed(seed)
            late.append(np.mean(train(RLCSC(16, 16, 3, residual), patches, 80)[-20:]))
        assert late[0] < late[1]


def config(folder, **changes):
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({**TINY, "run": str(folder / "run"), **changes}))
    return path


def command(*arguments, **options):
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    return subprocess.Popen(
        [sys.executable, "-m", "learned.cli", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, **options,
    )  # fmt: skip


@pytest.mark.slow
def test_a_killed_run_goes_on_exactly(tmp_path):
    """SIGKILL in the middle; the resumed weights equal those of a run left alone, bit for bit."""
    folders = [tmp_path / "whole", tmp_path / "killed"]
    for folder in folders:
        folder.mkdir()
    whole = command("fit", config(folders[0]))
    assert whole.wait(120) == 0, whole.stdout.read().decode()
    slow = command("fit", config(folders[1]), "--data.batch_size=3")
    last = folders[1] / "run" / "last.ckpt"
    deadline = time.monotonic() + 100
    while not last.exists():
        assert time.monotonic() < deadline, slow.stdout.read().decode()
        assert slow.poll() is None, slow.stdout.read().decode()
        time.sleep(0.01)
    slow.send_signal(signal.SIGKILL)
    slow.wait(20)
    assert not (folders[1] / "run" / "weights.safetensors").exists()
    refused = command("fit", folders[1] / "config.yaml")
    assert refused.wait(100) == 2
    assert "go on with --resume" in refused.stdout.read().decode()
    assert cli.main(["split", str(last)]) == 0  # --resume joins what a checkpoint was cut into
    last.unlink()
    resumed = command("fit", folders[1] / "config.yaml", "--resume")
    assert resumed.wait(100) == 0, resumed.stdout.read().decode()
    one, other = (learned.load(f / "run" / "weights.safetensors").state_dict() for f in folders)
    for name in one:
        assert torch.equal(one[name], other[name]), name
    rows = list(csv.DictReader((folders[0] / "run" / "log" / "version_0" / "metrics.csv").open()))
    assert len([row for row in rows if row["train/loss"]]) == 120
    target = tmp_path / "exported.safetensors"
    assert cli.main(["export", str(folders[0] / "run" / "last.ckpt"), "-o", str(target)]) == 0
    exported = learned.load(target).state_dict()
    for name in one:
        assert torch.equal(exported[name], one[name]), name


@pytest.mark.slow
def test_a_run_that_is_at_its_end_keeps_its_averaged_weights(tmp_path):
    """Lightning skips such a run, and what averages with it: the raw weights would be written."""
    path = config(tmp_path, ema=0.9)
    again = ["--trainer.max_steps=6", "--trainer.enable_progress_bar=false"]
    target = fit(path, again)
    before = target.read_bytes()
    assert fit(path, again, resume=True).read_bytes() == before
    averaged = learned.load(target).state_dict()
    other = learned.load(target)
    for parameter in other.parameters():
        parameter.data.zero_()
    for left in (target.unlink, lambda: weights.save(other, target, {"steps": 3})):  # killed before they were written
        left()
        fit(path, again, resume=True)
        found = learned.load(target)
        assert "max_steps" in found.provenance["config"]
        for name, tensor in found.state_dict().items():
            assert torch.equal(tensor, averaged[name]), name
    for change in ("--model.learning_rate=1e-5", "--model.weight_decay=0.3"):
        with pytest.raises(ValueError, match=f"of a run with another {change[2:].split('=')[0]}"):
            fit(path, [*again, change], resume=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rl-csc-paper", "crnet-a-paper", "crnet-a", "crnet-b"])
def test_recipes_take_their_first_steps(tmp_path, name):
    """On patches as small as can be, and the networks as they are."""
    picture = np.random.default_rng(0).integers(0, 256, (48, 48, 3)).astype(np.uint8)
    iio.imwrite(tmp_path / "picture.png", picture)
    options = [f"--run={tmp_path / 'run'}", f"--data.sources=[{tmp_path}]", "--data.patch=12", "--data.batch_size=1"]
    options += ["--data.shrink=[1.0]", "--data.workers=0", "--data.validation=null", "--model.compile=false"]
    options += ["--trainer.max_steps=3", "--trainer.accelerator=cpu", "--trainer.precision=32-true"]
    options += ["--trainer.enable_progress_bar=false"]
    target = fit(Path(__file__).parents[1] / "configs" / f"{name}.yaml", options)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in learned.load(target).state_dict().values())


def test_a_network_with_parts_for_each_scale_trains_on_one_device():
    path = Path(__file__).parents[1] / "configs" / "crnet-b.yaml"
    with pytest.raises(ValueError, match=r"trainer\.devices must be 1"):
        parse(path, ["--trainer.accelerator=cpu", "--trainer.devices=2"])
    assert parse(path, ["--trainer.accelerator=cpu"]).trainer.world_size == 1


def test_shipped_configurations_are_valid():
    """Each parses into a trainer, a task and data, and names what the design asks for."""
    found = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))
    assert len(found) >= 5
    for path in found:
        command = parse(path, ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"])
        assert command.trainer.max_steps > 0
        assert command.config.run == f"runs/{path.stem}"


def test_parts_are_the_whole(tmp_path):
    path = tmp_path / "state"
    for content, size in ((bytes(range(100)), 30), (b"short", 30)):
        path.write_bytes(content)
        written = parts.split(path, size)
        assert parts.exist(path)
        assert all(p.stat().st_size <= size for p in written)
        path.unlink()
        parts.join(path)
        assert path.read_bytes() == content
    with pytest.raises(FileNotFoundError, match="no parts of"):
        parts.join(tmp_path / "other")
    path.write_bytes(bytes(range(200)))
    with pytest.raises(ValueError, match="1 to 100 parts"):
        parts.split(path, 1)
    written = parts.split(path, 50)
    whole = written[2].read_bytes()
    written[2].unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks its parts state\.02"):
        parts.join(path)
    written[2].write_bytes(whole[::-1])
    with pytest.raises(ValueError, match="checksum differs"):
        parts.join(path)
    assert path.read_bytes() == bytes(range(200))


def test_bad_configurations(tmp_path, capsys):
    assert cli.main(["fit", str(tmp_path / "none.yaml")]) == 2
    assert "there is no file" in capsys.readouterr().err
    path = config(tmp_path)
    assert cli.main(["fit", str(path), "--ema=2"]) == 2
    assert "ema must be in [0, 1)" in capsys.readouterr().err
    assert cli.main(["fit", str(path), "--model.learning_rate=-1"]) == 2
    assert "learning_rate must be positive" in capsys.readouterr().err
    assert cli.main(["fit", str(path), "--data.sources=[/nowhere]"]) == 2
    assert "/nowhere is not a folder" in capsys.readouterr().err
    assert cli.main(["fit", str(path), "--model.lerning_rate=1"]) == 2
    assert "lerning_rate" in capsys.readouterr().err
    (tmp_path / "run").mkdir(exist_ok=True)
    (tmp_path / "run" / "last.ckpt").write_bytes(b"nothing")
    assert cli.main(["fit", str(path), "--resume"]) == 2
    assert "is not a whole checkpoint" in capsys.readouterr().err
    assert cli.main(["export", str(tmp_path / "run" / "last.ckpt"), "-o", str(tmp_path / "w.safetensors")]) == 2
    assert "is not a whole checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--save_every=0", "save_every must be at least 1"),
        ("--minutes=-1", "minutes must be positive"),
        ("--model.step_every=0", "step_every must be at least 1"),
        ("--model.network=torch.nn.Identity", "network must be one of RLCSC"),
        ("--data.shrink=[]", "shrink must not be empty"),
        ("--data.scales=[2]", "data.scales must be the network's"),
        ("--trainer.max_steps=-1", "max_steps must say"),
        ("--trainer.accumulate_grad_batches=2", "accumulate_grad_batches must be 1"),
        ("--trainer.accelerator=gpu", "No supported gpu"),
    ],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="the last one needs a machine without a GPU")
def test_values_out_of_range(tmp_path, capsys, option, message):
    assert cli.main(["fit", str(config(tmp_path)), option]) == 2
    assert message in capsys.readouterr().err


def test_a_run_that_is_out_of_time_goes_on(tmp_path, capsys):
    """`--minutes` counts from the start of each call, and keeps the state where it stops."""
    path = config(tmp_path, save_every=1000)
    weights_file = tmp_path / "run" / "weights.safetensors"
    steps = []
    for _ in range(2):
        assert cli.main(["fit", str(path), "--resume", "--minutes=0.003", "--trainer.max_steps=100000"]) == 0
        steps.append(int(learned.load(weights_file).provenance["steps"]))
    assert 0 < steps[0] < steps[1]
    assert len(list((tmp_path / "run" / "log").glob("version_*/metrics.csv"))) == 2
    capsys.readouterr()
    changes = ("--model.network.init_args.features=8", "--model.optimizer=sgd", "--ema=0")
    for change, name in zip(changes, ("model.network", "model.optimizer", "ema"), strict=True):
        assert cli.main(["fit", str(path), "--resume", "--trainer.max_steps=100000", change]) == 2
        assert f"of a run with another {name}" in capsys.readouterr().err


def test_evaluate_prints_a_table_and_writes_its_files(tmp_path, capsys):
    folder = tmp_path / "Toy"
    folder.mkdir()
    iio.imwrite(folder / "coins.png", bundled()["coins"][:90, :120])
    iio.imwrite(folder / "coffee.png", bundled()["coffee"][:90, :120])
    weights.save(learned.CRNetA(4, 8, 2), tmp_path / "a.safetensors")
    report, figure = tmp_path / "scores.json", tmp_path / "side.png"
    arguments = ["evaluate", str(tmp_path / "a.safetensors"), str(folder), "--scales", "2", "3"]
    assert cli.main([*arguments, "--json", str(report), "--figure", str(figure)]) == 0
    out = capsys.readouterr().out
    assert "CRNetA on Toy" in out
    assert "×3" in out
    content = json.loads(report.read_text())
    assert [s["scale"] for s in content["scores"]] == [2, 2, 3, 3]
    assert content["means"]["2"]["bicubic_psnr"] > 25
    assert iio.imread(figure).shape[1] > 500
    assert cli.main([*arguments, "--ensemble"]) == 0
    assert "CRNetA+ on Toy" in capsys.readouterr().out
    (folder / "broken.png").write_bytes(b"no picture")
    assert cli.main([*arguments, "--strict"]) == 2
    assert "broken.png cannot be read" in capsys.readouterr().err
    assert cli.main(["evaluate", str(tmp_path / "a.safetensors"), str(folder), "--scales", "5"]) == 2
    assert "scale must be one the network is trained for" in capsys.readouterr().err
    for options, message in (
        (["--scales", "0"], "scales must be at least 2"),
        (["--device", "foo"], "device 'foo' cannot be used here"),
    ):
        assert cli.main(["evaluate", "bicubic" if "--scales" in options else arguments[1], str(folder), *options]) == 2
        assert message in capsys.readouterr().err
    iio.imwrite(folder / "small.png", np.zeros((12, 12), np.uint8))
    assert cli.main(["evaluate", "bicubic", str(folder)]) == 2
    assert "small.png is too small to measure at ×2: 12×12" in capsys.readouterr().err


def test_enlarge_writes_a_picture(tmp_path, capsys):
    iio.imwrite(tmp_path / "low.png", bundled()["coffee"][:40, :50])
    weights.save(learned.CRNetB(4, 8, 2), tmp_path / "b.safetensors")
    arguments = ["enlarge", str(tmp_path / "b.safetensors"), str(tmp_path / "low.png"), "--scale", "3"]
    assert cli.main([*arguments, "-o", str(tmp_path / "high.png")]) == 0
    assert iio.imread(tmp_path / "high.png").shape == (120, 150, 3)
    iio.imwrite(tmp_path / "low.png", bundled()["coins"][:40, :50])
    assert cli.main([*arguments, "-o", str(tmp_path / "grey.png")]) == 2
    assert "takes RGB pictures" in capsys.readouterr().err
    assert not (tmp_path / "grey.png").exists()


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs shared/data/sr")
@pytest.mark.parametrize("dataset", ["Set5", "BSD100"])
def test_bicubic_scores_the_published_figures(dataset):
    for scale, mean in means(evaluate(None, SHARED / dataset)).items():
        psnr, ssim = PUBLISHED["bicubic", dataset, scale]
        assert mean["psnr"] == pytest.approx(psnr, abs=0.01)
        assert mean["ssim"] == pytest.approx(ssim, abs=0.0005)
