"rsg quality: harm that is there is found, none is found where nothing differs, and a stopped run goes on."

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ready_steady_go.spec.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "benchmarks"))

# The trainings


@pytest.fixture(scope="module")
def pairs():
    "Trainings of the small models, those in FP32 made once."
    import quality

    found = {}
    return lambda model: found.setdefault(model, quality.Pairs(model, 4))


def test_gradients_rounded_to_three_bits_are_worse(pairs):
    verdict, accuracies, _ = pairs("cnn").compared(5, bits=3)
    assert verdict.word == "WORSE" and verdict.difference < -0.02, accuracies


def test_fp32_against_fp32_differs_by_exactly_nothing(pairs):
    verdict, accuracies, _ = pairs("cnn").compared(3)
    assert (verdict.word, verdict.difference, verdict.half_width) == ("SAME", 0.0, 0.0) and min(accuracies[0]) > 0.85


def test_a_transformer_repeats_itself_and_notices_three_bits():
    import quality

    pairs = quality.Pairs("tiny-bert", 1)
    one, again, bad = pairs.train(0), pairs.train(0), pairs.train(0, bits=3)
    assert (one.loss, one.accuracy, one.start) == (again.loss, again.accuracy, again.start)
    assert bad.start == one.start and bad.accuracy < one.accuracy - 0.1


def test_other_precisions_and_seeds_are_not_exactly_the_same(pairs):
    "The test above can fail."
    half, one, two = pairs("cnn").train(0, "bf16"), pairs("cnn").train(0), pairs("cnn").train(1)
    assert half.start == one.start != two.start and half.loss != one.loss != two.loss


def test_the_tasks_are_the_same_on_every_machine():
    import hashlib

    from ready_steady_go.training.tasks import digit_rows, teacher_images, teacher_tokens

    digest = lambda t: hashlib.sha256(t.contiguous().numpy().tobytes()).hexdigest()[:12]
    images, classes = teacher_images(3)
    tokens, words = teacher_tokens(16)
    found = [digest(t) for t in (digit_rows(), classes, tokens, words, images)]
    assert found == ["68aea062d35a", "0ceedcda47c2", "07438d6d36c8", "c35b4892956f", "3f424ae85d37"]


def test_the_licence_is_beside_the_digits():
    folder = ROOT / "ready_steady_go/training"
    text = (folder / "digits.LICENSE.md").read_text()
    assert "10.24432/C50P49" in text and "licenses/by/4.0" in text and (folder / "digits.csv.gz").stat().st_size < 60_000
    assert "CC-BY-4.0" in (ROOT / "pyproject.toml").read_text()


def test_the_kept_result_is_of_this_rule():
    kept = json.loads((ROOT / "benchmarks/results/quality_2cores.txt").read_text().splitlines()[-1])
    words = {(row["model"], row["config"]): row["verdict"] for row in kept["trials"]}
    assert all(words[model, "fp32 again"] == "SAME" and words[model, "3 bits"] == "WORSE" for model in ("cnn", "tiny-bert"))
    assert all(row["SAME"] < 0.03 for row in kept["rule"] if row["true"] == -kept["margin"])
    assert all(row["WORSE"] < 0.03 for row in kept["rule"] if row["true"] == 0)


# The command


def rsg(folder, *args, **more):
    "Run the command as a user does."
    command = [sys.executable, "-m", "ready_steady_go", "quality", "--device", "cpu", *map(str, args)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, env=os.environ | dict(COLUMNS="80"), **more)


QUICK = ("--epochs", 1, "--seeds", 3, "--bs", 256)
OWN = '''
import torch
from torch import nn
from ready_steady_go.training.workload import Workload, mean_cross_entropy

options = ("lr",)

class Spoiled(nn.Module):
    "A model whose gradients have 3 bits under autocast, and only there."
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    def forward(self, x):
        half = torch.is_autocast_enabled("cpu")
        with torch.autocast("cpu", enabled=False): y = self.net(x)
        if half and self.training:
            y.register_hook(lambda g: (g / g.abs().max() * 3).round() / 3 * g.abs().max() * torch.sign(torch.randn_like(g)))
        return y

def build(spec, device):
    torch.manual_seed(spec.seed)
    draw = lambda bs: (torch.randn(bs, 1, 8, 8, device=device), torch.randint(10, (bs,), device=device))
    return Workload(Spoiled().to(device), draw, mean_cross_entropy)
'''


def test_a_model_that_bf16_spoils_is_worse(tmp_path):
    "From the command line, with a user's own model: the verdict, the exit code and the log."
    (tmp_path / "mine.py").write_text(OWN)
    done = rsg(tmp_path, "--model", "mine:spoiled", "--bf16", "--fp32", "--seeds", 3, "--epochs", 8, "--json")
    assert done.returncode == 1, done.stderr
    verdicts = {row["config"]: row for row in map(json.loads, done.stdout.splitlines()) if "verdict" in row}
    assert verdicts["bf16"]["verdict"] == "WORSE" and verdicts["fp32 again"]["difference"] == 0
    assert verdicts["fp32 again"]["verdict"] == "SAME" and verdicts["fp32 again"]["difference_ci95"] == 0
    lines = [json.loads(line) for line in (tmp_path / "rsg-quality.jsonl").read_text().splitlines()]
    assert {line["margin"] for line in lines} == {0.01} and len({line["start"] for line in lines}) == len({line["seed"] for line in lines})


def test_the_screen_is_at_most_80_columns_wide_and_names_what_a_gpu_adds(tmp_path):
    done = rsg(tmp_path, "--bf16", "--tf32", *QUICK)
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "on a GPU" in done.stderr and "skipped: --tf32: TF32 needs an NVIDIA GPU" in done.stderr
    assert re.search(r"\* bf16: (SAME|UNSURE|WORSE): [+-]\d\.\d\d ± \d+\.\d\d points of accuracy, \d+ seeds", done.stdout)
    again = rsg(tmp_path, "--bf16", *QUICK)
    assert again.stdout.splitlines()[-4:] == done.stdout.splitlines()[-4:] and "from the log" in again.stderr
    other = rsg(tmp_path, "--bf16", *QUICK, "--margin", "5%")
    assert other.returncode == 2 and "use --margin 1%" in other.stderr and other.stderr.count("\n") == 1


def test_ctrl_c_keeps_what_was_trained_and_the_same_command_goes_on(tmp_path):
    command = [sys.executable, "-m", "ready_steady_go", "quality", "--device", "cpu", "--bf16", "--epochs", "2", "--seeds", "4"]
    log = tmp_path / "rsg-quality.jsonl"
    run = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    while not (log.exists() and log.read_text().count("\n") >= 3) and time.monotonic() < until: time.sleep(0.02)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=60)
    kept = log.read_text().splitlines()
    assert run.returncode == 130 and "the same command goes on" in err and "Traceback" not in err
    log.write_text("\n".join([*kept, '{"trainings":1,"id":"cut']))  # as a power cut leaves it
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and f"{len(kept)} trainings from the log" in done.stderr, done.stderr
    lines = [line for line in log.read_text().splitlines() if not line.endswith("cut")]
    assert lines[: len(kept)] == kept
    trained = [(row["config"], row["seed"]) for row in map(json.loads, lines)]
    assert len(trained) == len(set(trained)) >= 8


def test_a_model_of_another_family_can_be_trained(tmp_path):
    args = "--model", "lstm:classifier", "--seq-len", 4, "--hid-dim", 8, "--emb-dim", 8, "--bs", 512, "--epochs", 1, "--seeds", 3
    done = rsg(tmp_path, *args, "--json")
    assert done.returncode == 0 and json.loads(done.stdout.splitlines()[-1])["config"] == "bf16", done.stderr


WRONG = {
    "a margin of nothing": (["--margin", "0%"], "no number of seeds proves equality"),
    "a margin without %": (["--margin", "0.01"], "expected a share in percent"),
    "too few seeds": (["--seeds", "2"], "--seeds 2"), "too many": (["--seeds", "33"], "--seeds 33"),
    "a task that is none": (["--data", "mnist"], "--data mnist"), "two models": (["--model", "cnn,resnet18"], "one model"),
    "no epoch": (["--epochs", "0"], "--epochs 0"), "an option of others": (["--budget", "3"], "no such option"),
}  # fmt: skip


@pytest.mark.parametrize("args,words", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_request_is_one_line(args, words, capsys):
    from ready_steady_go.commands.cli import main

    with pytest.raises(SystemExit) as end: main(["quality", *args])
    err = capsys.readouterr().err
    assert end.value.code == 2 and words in err.lower() and err.count("\n") == 1


def test_an_error_of_the_child_is_one_line(tmp_path):
    done = rsg(tmp_path, "--model", "tiny-bert", "--data", "digits", "--quiet")
    assert done.returncode == 2 and done.stderr.startswith("rsg: --data digits: tiny-bert does not accept images")
    assert done.stderr.count("\n") == 1


def test_another_file_is_not_touched(tmp_path, capsys):
    from ready_steady_go.commands.cli import main

    (tmp_path / "notes.txt").write_text("milk")
    with pytest.raises(SystemExit) as end: main(["quality", "--out", str(tmp_path / "notes.txt")])
    assert end.value.code == 2 and "is not of rsg quality" in capsys.readouterr().err and (tmp_path / "notes.txt").read_text() == "milk"


def test_python_gives_the_signals_back_and_takes_lists_and_none(tmp_path, monkeypatch):
    import signal

    from ready_steady_go import quality
    from ready_steady_go.commands import quality as command

    def run_quality(request, plan, screen, began):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        assert [spec.precision for spec in request.specs] == ["bf16"] and request.specs[0].compile is None and plan.bs == 32
        return 0, [], {}

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(command, "run_quality", run_quality)
    assert quality(bs=[32], bf16=True, compile=None, out=str(tmp_path / "q.jsonl")) == []
    assert signal.getsignal(signal.SIGINT) is before


def test_help_loads_nothing_heavy():
    from test_door import loaded

    assert loaded(["quality", "--help"]) == [] and loaded(["quality", "--seeds", "1"]) == []


# The report


def trained(config, seed, accuracy, **more):
    from ready_steady_go.store.trainings import Training

    about = dict(key="k", model="cnn", label="cnn, 8 px", data="digits", config=config, precision=config[:4], margin=0.01, epochs=8, bs=64)
    result = dict(device="cpu", device_name="a CPU", n_test=449, chance=0.1, loss=0.1, start=str(seed), seconds=2.0)
    return Training(**about | result | dict(seed=seed, accuracy=accuracy) | more)


def test_a_report_has_the_verdicts(tmp_path, monkeypatch):
    from ready_steady_go.report.data import load_results
    from ready_steady_go.report.overview import overview
    from ready_steady_go.report.page import report_parameters
    from ready_steady_go.report.quality import trained_alike
    from ready_steady_go.store.trainings import TrainingLog

    log = TrainingLog(tmp_path / "rsg-quality.jsonl")
    for seed in range(4):
        log.append(trained("fp32", seed, 0.97 + 0.001 * seed))
        log.append(trained("bf16", seed, 0.92 + 0.002 * seed))
    monkeypatch.chdir(tmp_path)
    (named,) = report_parameters([])["journals"]
    data = load_results([named])
    picture, table = trained_alike(data)
    assert "bf16: WORSE" in picture.alt and table.data.verdict.tolist() == ["WORSE"] and not data.is_sample
    assert "8 trainings of rsg quality" in overview(data)[0].texts[0]


def test_a_forged_log_gives_no_verdict(tmp_path):
    from ready_steady_go.report.quality import pairs_in

    base = [trained("fp32", seed, 0.97) for seed in range(4)]
    for wrong in (dict(start="x"), dict(margin=0.5), dict(n_test=7), dict(key="other")):
        assert list(pairs_in([*base, *(trained("bf16", seed, 0.97, **wrong) for seed in range(4))])) == []


def test_trainings_with_another_margin_are_another_comparison():
    "As --fresh leaves them: FP32 was trained again with a larger margin, bf16 only in part, tf32 not at all."
    from ready_steady_go.report.quality import pairs_in

    first = [trained(config, seed, 0.97) for config in ("fp32", "bf16", "tf32") for seed in range(5)]
    again = [trained(config, seed, 0.97, margin=0.02) for config in ("fp32", "bf16") for seed in range(3)]
    found = [(config, pairs[0][0].margin, len(pairs)) for config, pairs in pairs_in([*first, *again])]
    assert found == [("bf16", 0.01, 5), ("tf32", 0.01, 5), ("bf16", 0.02, 3)]


def test_a_pair_with_different_starts_is_no_pair():
    from ready_steady_go.box.machine import Machine
    from ready_steady_go.run.quality import PairedComparison, QualityPlan
    from ready_steady_go.spec.spec import Spec

    known = {("fp32", 0): trained("fp32", 0, 0.9), ("bf16", 0): replace(trained("bf16", 0, 0.9), start="x")}
    machine = Machine(device="cpu", device_name="x")
    with pytest.raises(RuntimeError, match="began with different weights"):
        PairedComparison(Spec(model="cnn"), {"bf16": Spec(model="cnn")}, QualityPlan(), machine, known).needs("bf16")


def test_a_margin_that_is_chosen_afterwards_is_refused(tmp_path):
    from ready_steady_go.box.machine import Machine
    from ready_steady_go.run.quality import PairedComparison, QualityPlan, known_trainings
    from ready_steady_go.spec.spec import Spec
    from ready_steady_go.store.trainings import TrainingLog

    comparison = PairedComparison(Spec(model="cnn"), {}, QualityPlan(margin=0.05), Machine(device="cpu", device_name="x"))
    log = TrainingLog(tmp_path / "log.jsonl")
    log.append(trained("fp32", 0, 0.9, key=comparison.key))
    with pytest.raises(UserError, match="use --margin 1%"): known_trainings(log, comparison)
