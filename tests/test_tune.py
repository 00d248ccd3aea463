"rsg tune: the race ends at the right configuration, a wrong one is out, and the answer and its script hold."

import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ready_steady_go.run.race import Axis, ProbeResult, Race
from ready_steady_go.run.request import Request
from ready_steady_go.spec.options import RunOptions
from ready_steady_go.spec.spec import Spec

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "benchmarks"))

import tune  # noqa: E402

# The race

RACES = 150


@pytest.mark.parametrize("space", tune.SPACES)
def test_the_race_is_right_more_often_than_trying_everything_and_needs_less(space):
    axes = tune.SPACES[space]
    race, plain, turns = (tune.row(axes, way, RACES, 1, 0.6) for way in tune.WAYS)
    assert race["good"] >= 0.93 and plain["good"] < 0.6 and turns["good"] < 0.7
    assert race["probes"] <= turns["probes"] / 2 and race["minutes"] < plain["minutes"] / 3


@pytest.mark.parametrize("space", tune.SPACES)
def test_on_a_calm_machine_nearly_every_race_is_right(space):
    assert tune.row(tune.SPACES[space], "race", RACES, 2, 0.0)["good"] >= 0.95


def test_the_kept_result_is_of_these_races():
    kept = json.loads((ROOT / "benchmarks/results/tune_races.txt").read_text().splitlines()[-1])
    race = {row["space"]: row for row in kept["rows"] if row["way"] == "race"}
    turns = {row["space"]: row for row in kept["rows"] if "turns" in row["way"]}
    assert kept["races"] == 1000 and kept["drift"] == 0.6
    assert all(row["good"] >= 0.95 and row["probes"] <= turns[space]["probes"] / 2 for space, row in race.items())


def drive(race, speed, seconds=3.0, budget=math.inf):
    "Run a race on speeds by configuration; a missing one fails."
    while (config := race.next(budget - seconds * len(race.results))) is not None:
        race.tell(ProbeResult(config, speed.get(config), 0.002, seconds))
    return race


def test_told_results_lead_to_the_same_race():
    axes = tune.SPACES["images, GPU"]
    trials = tune.Trials(tune.Model(axes, tune.random.Random(3)), tune.Machine(tune.random.Random(4), 0.6), tune.random.Random(5))
    first, again = Race(axes, lambda c: tune.allowed(axes, c)), Race(axes, lambda c: tune.allowed(axes, c))
    while (config := first.next()) is not None: first.tell(trials.probe(config))
    for result in first.results:
        assert again.next() == result.config
        again.tell(result)
    assert again.next() is None and again.best == first.best and again.steps == first.steps


def test_a_budget_ends_a_race_with_what_is_known():
    axes = [Axis("precision", ("fp32", "bf16")), Axis("compile", (None, "inductor"), heavy=True)]
    race = drive(Race(axes), {("fp32", None): 100, ("bf16", None): 150, ("bf16", "inductor"): 300}, budget=14)
    assert race.best == ("bf16", None) and "budget" in race.why


def test_a_base_that_fails_ends_the_race():
    race = drive(Race(tune.SPACES["text, GPU"]), {})
    assert len(race.results) == 1 and race.best == race.results[0].config and not race.steps


# Agreement


@pytest.fixture(scope="module")
def backends():
    "Backends of torch.compile that compute something else."
    import torch._dynamo
    from functorch.compile import make_boxed_func
    from torch._dynamo.backends.common import aot_autograd

    def halved(gm, args): return make_boxed_func(lambda *a: [o / 2 if o is not None else None for o in gm(*a)])
    def second(o): return None if o is None else o * (torch.arange(o.numel()).view_as(o) % 2)
    def one_sided(gm, args): return make_boxed_func(lambda *a: [second(o) for o in gm(*a)])
    def plain(gm, args): return make_boxed_func(gm.forward)

    for name, backward in dict(half_gradient=halved, every_second=one_sided).items():
        if name not in torch._dynamo.list_backends(None):
            torch._dynamo.register_backend(compiler_fn=aot_autograd(fw_compiler=plain, bw_compiler=backward), name=name)


def conv_work():
    import torch
    from torch import nn

    from ready_steady_go.training.workload import Workload

    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(288, 5))
    return Workload(model, lambda bs: (torch.randn(bs, 3, 8, 8), torch.randint(5, (bs,))), nn.functional.cross_entropy)


def agreement_of(**more):
    from ready_steady_go.spec.spec import Spec
    from ready_steady_go.training.agreement import Agreement, disagreement, step_facts

    reference = step_facts(conv_work, Spec(model="conv", optimizer="sgd"))
    facts = step_facts(conv_work, Spec(model="conv", optimizer="sgd", **more), reference.rate)
    found = Agreement.of(reference, facts)
    return found, disagreement(found, facts, more.get("precision", "fp32"))


def test_the_same_step_agrees_exactly():
    found, why = agreement_of()
    assert (found.loss, found.angle, found.norm, found.falls, why) == (0, 0, 0, 1, None)


OPTIONS = [dict(precision="bf16"), dict(fused=True), dict(compile="aot_eager"), dict(precision="fp16", fused=True)]


@pytest.mark.parametrize("more", OPTIONS)
def test_a_configuration_that_trains_agrees(more):
    found, why = agreement_of(**more)
    assert why is None and found.falls > 0.5


@pytest.mark.parametrize("backend,words", [("half_gradient", "norm"), ("every_second", "cosine")])
def test_a_compiler_that_returns_half_of_the_gradient_is_out(backends, backend, words):
    found, why = agreement_of(compile=backend)
    assert words in why and found.loss == 0


def test_the_limits_are_above_what_was_measured():
    from ready_steady_go.training.agreement import LEAST_FALL, LIMITS

    measured = json.loads((ROOT / "benchmarks/results/agreement_cpu.txt").read_text().splitlines()[-1])
    for precision, worst in measured.items():
        assert worst["falls"] > LEAST_FALL
        assert all(LIMITS[precision][name] >= 5 * worst[name] for name in ("loss", "angle", "norm"))


# The whole run, on a machine that only pretends to measure

SPEEDS = dict(bf16=2.0, fp16=1.9, channels_last=1.2, inductor=1.5)


class PretendChild:
    "A child that finds that some values disagree with FP32."

    def __init__(self, wrong): self.wrong = wrong

    def ask(self, question, *more):
        bad = [v for v in question["spec"].values() if v in self.wrong]
        return dict(event="agreed", why=f"{bad[0]} is wrong" if bad else None, found=dict(angle=0.5 if bad else 0.01))

    def end(self): pass


class PretendRunner:
    "A runner whose throughput follows from the spec."

    lost, device, usable_bytes, cards = False, None, None, ()

    def __init__(self, wrong=(), refused=("tf32", "inductor:max-autotune-no-cudagraphs", True), end_after=math.inf, mem=None, half_bs=8):
        from ready_steady_go.box.machine import Machine

        self.machine = Machine(device="cuda", device_name="a GPU", pytorch="2.9.0", gpu_mem=16 * 2**30)
        self.child, self.wrong, self.refused, self.end_after, self.mem, self.points = None, wrong, refused, end_after, mem or {}, []
        self.half_bs = half_bs  # the batch size that has half of the highest throughput

    def begin_early(self): pass
    def end(self): self.child = None
    def finish(self): self.end()
    def done(self, spec): pass

    def check(self, specs):
        from dataclasses import replace

        from ready_steady_go.spec.errors import UserError

        self.child = self.child or PretendChild(self.wrong)
        for spec in specs:
            for value in (spec.precision, spec.compile, spec.cuda_graph):
                if value in self.refused: raise UserError(f"--x {value}: this machine does not have it; remove it")
        own = dict(family="timm", channels=3, classes=1000, optimizer="sgd", changed="")
        return [replace(spec, size=spec.size or 224, **own) for spec in specs]

    def point(self, spec, limits, on_beat=None, *more):
        from ready_steady_go.store.record import make_record

        if len(self.points) >= self.end_after: raise KeyboardInterrupt
        self.points.append(spec)
        asked = {name: limits.get(name) for name in ("n_seconds", "n_batches", "run_number", "soak")}
        gib = 1 + (0.01 if spec.checkpointing else 0.05) * spec.bs
        if gib > 16: return make_record(spec, self.machine, outcome="oom", error="CUDA out of memory", **asked)
        speed = 12.5 * self.half_bs * spec.bs / (self.half_bs + spec.bs) * (0.8 if spec.checkpointing else 1.0)
        for value in (spec.precision, spec.layout, spec.compile): speed *= SPEEDS.get(value, 1.0)
        timed = dict(throughput=speed, throughput_ci95=speed * 0.002, step_ms=1e3 * spec.bs / speed, duration=2.0, steady=True)
        more = dict(warmup_s=1.0, compile_s=40.0 if spec.compile else None, peak_mem_bytes=int(gib * 2**30))
        return make_record(spec, self.machine, **timed, **more, **asked)


def tuned(tmp_path, runner, more=(), **limits):
    "Run a tuning of a pretended machine, and return its answer and the journal."
    import time

    from ready_steady_go.commands.tune import tune_request
    from ready_steady_go.run.campaign import Campaign, Collected, PriceLookup
    from ready_steady_go.run.screen import Screen
    from ready_steady_go.run.tuner import TuneLimits, TuneWork
    from ready_steady_go.store.journal import Journal

    journal, work = Journal(tmp_path / "r.jsonl"), TuneWork(TuneLimits(**limits))
    request = tune_request(dict(model=["resnet50"], usd_per_hour="0.36", wandb="off", **dict(more)))
    work([request], Campaign(Screen(), runner, journal, PriceLookup(0.36)), time.monotonic(), Collected())
    return work.answer, journal.read()


def test_a_run_ends_with_the_fastest_configuration(tmp_path, capsys):
    from ready_steady_go.commands.tune import answer_json, answer_lines

    answer, records = tuned(tmp_path, PretendRunner())
    out, err = capsys.readouterr()
    winner = answer.winner
    assert (winner.precision, winner.layout, winner.compile) == ("bf16", "channels_last", "inductor") and winner.bs > 128
    assert 3.4 < answer.gain.ratio < 4.0 and "tf32" in err
    assert "x over plain FP32: bf16 + channels_last + compile, batch size" in answer.sentence
    lines = answer_lines(answer)
    assert any("+ bf16" in line and "2.00x" in line for line in lines) and any("has paid for itself after" in line for line in lines)
    assert any("-> $" in line for line in lines)
    assert max(len(line) for line in out.splitlines() if not line.startswith("*")) <= 80
    (last,) = [r for r in records if r.tune_ratio]
    assert last == records[-1] and last.search == "confirm" and last.tune_steps.startswith("bf16 2 ±")
    assert json.loads(answer_json(answer))["settings"]["compile"] == "inductor"
    probes = [r for r in records if r.search == "tune"]
    assert len({r.tune_id for r in probes}) == 1 and winner.key in {r.key for r in probes if r.agreement}


def test_a_configuration_that_disagrees_is_out_and_the_table_says_why(tmp_path, capsys):
    answer, records = tuned(tmp_path, PretendRunner(wrong=("inductor", "bf16")))
    wrong = [r for r in records if r.outcome == "failed:disagrees"]
    assert (answer.winner.precision, answer.winner.compile) == ("fp16", None)
    assert wrong and all("does not train as FP32 does" in r.error and r.throughput is None for r in wrong)
    assert "out: it does not train as FP32 does: bf16 is wrong" in capsys.readouterr().out


def test_an_interrupted_run_goes_on(tmp_path, capsys):
    first = PretendRunner(end_after=15)
    with pytest.raises(KeyboardInterrupt): tuned(tmp_path, first)
    again = PretendRunner()
    answer, records = tuned(tmp_path, again)
    whole, _ = tuned(tmp_path / "..", PretendRunner(), more=dict(fresh=True, out=str(tmp_path / "other.jsonl")))
    assert "probes from the journal" in capsys.readouterr().err
    probed = [(r.key, r.fused) for r in records if r.search == "tune"]
    assert answer.sentence == whole.sentence and len([s for s in again.points if s.bs]) < len(first.points) + len(probed) + 20
    assert len(again.points) + 15 <= len(records) + 1


def test_a_memory_limit_and_one_batch_size_hold(tmp_path):
    answer, records = tuned(tmp_path, PretendRunner(), memory=8 * 2**30)
    assert answer.winner.bs <= 140 and answer.base.bs <= 140
    one, records = tuned(tmp_path, PretendRunner(), bs=32)
    assert one.winner.bs == one.base.bs == 32 and round(one.gain.ratio, 3) == 3.6


def searched(records, precision="fp32"):
    "Return the batch sizes that the searches of a tuning run measured in FP32."
    return [r.bs for r in records if r.search in ("probe", "refine", "confirm") and r.tune_id is None and r.precision == precision]


def measure(tmp_path, **more):
    "Measure the same pretended machine without tuning, and return the records."
    import time

    from ready_steady_go.run.campaign import Campaign, Collected, PriceLookup, carry_out
    from ready_steady_go.run.screen import Screen
    from ready_steady_go.run.tuning import plain_spec
    from ready_steady_go.store.journal import Journal

    journal, spec = Journal(tmp_path / "r.jsonl"), plain_spec(Spec(model="resnet50", family="timm", size=224))
    request = Request([spec], RunOptions(wandb="off", **more), layout_chosen=True)
    campaign = Campaign(Screen(quiet=True), PretendRunner(half_bs=1000), journal, PriceLookup(None))
    carry_out([request], campaign, time.monotonic(), Collected())
    return journal.read()


def test_a_limited_search_does_not_limit_a_tuning_run(tmp_path):
    before = measure(tmp_path, search_until=32)
    assert max(r.bs for r in before) == 32 and [r for r in before if r.search == "confirm"]
    answer, after = tuned(tmp_path, PretendRunner(half_bs=1000))
    assert answer.base.bs > 200 and max(searched(after)) > 200
    assert searched(tuned(tmp_path, PretendRunner(half_bs=1000))[1]) == searched(after)


def test_a_search_within_a_memory_does_not_limit_a_later_one(tmp_path):
    answer, before = tuned(tmp_path, PretendRunner(half_bs=1000), memory=4 * 2**30)
    assert answer.base.bs <= 60 and searched(tuned(tmp_path, PretendRunner(half_bs=1000), memory=4 * 2**30)[1]) == searched(before)
    assert max(searched(measure(tmp_path))) > 200
    answer, _ = tuned(tmp_path, PretendRunner(half_bs=1000), memory=4 * 2**30)
    assert answer.base.bs <= 60


@pytest.mark.parametrize("half_bs,wins", [(8, False), (1000, True)])
def test_checkpointing_wins_only_where_a_larger_batch_makes_up_for_it(tmp_path, half_bs, wins):
    "It computes a fifth slower here, and needs a fifth of the memory."
    answer, records = tuned(tmp_path, PretendRunner(half_bs=half_bs))
    assert any(r.checkpointing for r in records) and answer.winner.checkpointing is wins
    assert ("checkpointing" in answer.sentence) is wins and (answer.winner.bs > 600) is wins
    assert ("checkpointing" in (records[-1].tune_steps or "")) is wins


def test_precisions_restrict_the_race(tmp_path):
    answer, records = tuned(tmp_path, PretendRunner(), precisions=("fp16",))
    assert answer.winner.precision == "fp16" and "bf16" not in {r.precision for r in records}


def test_a_short_budget_still_gives_an_answer(tmp_path, capsys):
    answer, _ = tuned(tmp_path, PretendRunner(), bs=32, budget_s=0.001)
    assert answer.sentence == "nothing was compared with plain FP32, batch size 32: the budget ended first; use a larger --budget"
    assert "use a larger --budget" in capsys.readouterr().err
    assert (answer.gain.ratio, answer.gain.half_width, answer.base, answer.steps) == (1.0, 0.0, answer.winner, [])


def test_an_answer_without_a_comparison_is_not_in_the_report(tmp_path):
    "It has no ratio; plain FP32 that won against others has one."
    from ready_steady_go.commands.tune import answer_json, answer_lines

    answer, records = tuned(tmp_path, PretendRunner(), bs=32, budget_s=0.001)
    assert [r.search for r in records] == ["confirm"] and records[0].tune_ratio is None
    assert json.loads(answer_json(answer))["ratio"] is None and not any("in turns" in line for line in answer_lines(answer))
    (tmp_path / "b").mkdir()
    answer, records = tuned(tmp_path / "b", PretendRunner(wrong=("bf16", "fp16", "channels_last", "inductor")), bs=32)
    assert answer.sentence == "plain FP32 is the fastest that was found, batch size 32" and records[-1].tune_ratio == 1.0


def test_a_memory_limit_holds_at_a_named_batch_size(tmp_path, capsys):
    with pytest.raises(RuntimeError, match="plain FP32 at batch size 32 needs 2.60 GiB; use a larger --memory, or a smaller batch size"):
        tuned(tmp_path, PretendRunner(), bs=32, memory=2 * 2**30)

    class Hungry(PretendRunner):
        def point(self, spec, *args):
            from dataclasses import replace

            r = super().point(spec, *args)
            return replace(r, peak_mem_bytes=3 * 2**30) if spec.compile else r
    for name, limit, compiler in (("a", 2.8, None), ("b", 3.1, "inductor")):
        (tmp_path / name).mkdir()
        answer, records = tuned(tmp_path / name, Hungry(), bs=32, memory=limit * 2**30)
        assert answer.winner.compile == compiler and answer.winner.memory_bytes <= limit * 2**30
        assert all(r.ok for r in records if r.compile)
        assert ("out: it needs 3.00 GiB" in " ".join(capsys.readouterr().out.split())) is (compiler is None)


def test_the_gain_of_compiling_is_over_not_compiled():
    from ready_steady_go.run.race import Gain, Step
    from ready_steady_go.run.tuning import COMPILERS, compile_gain_of

    def gain_of(*configs):
        axes = [Axis("compile", (None, *COMPILERS), heavy=True), Axis("cuda_graph", (False, True), heavy=True)]
        steps = [Step(a, b, Gain(math.log(r), 0.01)) for a, (b, r) in zip([(None, False), *(c for c, _ in configs)], configs)]
        return compile_gain_of(SimpleNamespace(axes=axes, steps=steps, best=configs[-1][0]))
    assert gain_of(((COMPILERS[0], False), 1.4), ((COMPILERS[1], True), 1.1)) == pytest.approx(1.4 * 1.1)
    assert gain_of(((COMPILERS[0], False), 1.4), ((COMPILERS[0], True), 1.1)) == pytest.approx(1.4)
    assert gain_of(((COMPILERS[0], False), 1.4), ((None, True), 1.1)) is None


def test_a_winner_that_turns_out_slower_is_not_recommended(tmp_path):
    class Slower(PretendRunner):
        def point(self, spec, limits, *args):
            from dataclasses import replace

            r = super().point(spec, limits, *args)
            return replace(r, throughput=r.throughput / 8) if spec.precision == "bf16" and not limits.get("brief") else r
    answer, _ = tuned(tmp_path, Slower(refused=("tf32", "fp16", "inductor", "inductor:max-autotune-no-cudagraphs", True)), bs=32)
    assert answer.sentence.startswith("slower than plain FP32 (0.3") and answer.sentence.endswith("; use plain FP32, batch size 32")


def test_python_gets_the_same_answer(tmp_path, monkeypatch, capsys):
    import time

    from ready_steady_go.commands import tune as command

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "Runner", lambda device, start, models: PretendRunner())
    answer = command.tune_model("resnet50", "bf16", memory="8GiB", bs=32, quiet=True, wandb="off")
    assert (answer.winner.precision, answer.winner.bs) == ("bf16", 32) and (tmp_path / "rsg-results.jsonl").exists()
    code = command.tune_command_line(dict(model=["resnet50"], bs="32", json=True, wandb="off"), None, None, "train.py", time.monotonic())
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert code == 0 and lines[-1]["winner"]["bs"] == 32 and "rsg tune" in (tmp_path / "train.py").read_text()


def test_a_report_shows_the_steps(tmp_path):
    from ready_steady_go.report.data import load_results
    from ready_steady_go.report.tuned import tuned as section

    tuned(tmp_path, PretendRunner())
    data = load_results([str(tmp_path / "r.jsonl")])
    picture, table = section(data)
    assert "+ bf16 2x" in picture.alt and table.data["batch size"][0] > 128
    assert set(data.rows[data.rows.search.eq("tune")].status) == {"probe of rsg tune"}


# Errors

@pytest.mark.parametrize(
    "args,words",
    [
        (["--model", "resnet18,resnet50"], "one model"), (["--model", "resnet18", "--bs", "1,2"], "one batch size"), ([], "no model given"),
        (["--model", "resnet18", "--memory", "20"], "--memory 20"), (["--model", "resnet18", "--precision", "fp8"], "--precision fp8"),
        (["--model", "resnet18", "--script", "train"], "ends in .py"),
        (["--model", "my_models:net", "--script", "t.py"], "your own module"),
        (["--model", "resnet18", "--layout", "nchw"], "no such option"), (["--model", "resnet18", "--fp16"], "no such option"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_one_line(args, words, capsys):
    from ready_steady_go.commands.cli import main

    with pytest.raises(SystemExit) as end: main(["tune", *args])
    err = capsys.readouterr().err
    assert end.value.code == 2 and words in err.lower() and err.count("\n") == 1


def test_another_file_is_not_replaced_by_a_script(tmp_path):
    from ready_steady_go.run.train_script import check_script
    from ready_steady_go.spec.errors import UserError

    mine = tmp_path / "train.py"
    mine.write_text("print('mine')\n")
    with pytest.raises(UserError, match="not a script of rsg"): check_script(str(mine))


# The command on this CPU, and its script

def test_the_command_and_its_script(tmp_path):
    import os
    import re
    import subprocess

    model = ["--model", "lstm:classifier", "--seq-len", "4", "--emb-dim", "8", "--hid-dim", "8", "--bs", "4", "--precision", "bf16"]
    command = [sys.executable, "-m", "ready_steady_go", "tune", *model, "--budget", "8", "--device", "cpu", "--script", "train.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.search(r"plain FP32.*batch size 4", done.stdout)
    script = (tmp_path / "train.py").read_text()
    assert "ready_steady_go" not in script and "rsg tune" in script
    short = script.replace("for seconds in 2, 8:", "for seconds in 0.1, 0.3:")
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    guard = "import sys; sys.modules['ready_steady_go'] = None\n"
    (tmp_path / "short.py").write_text(short)
    program = guard + "import runpy; runpy.run_path('short.py')"
    alone = subprocess.run([sys.executable, "-I", "-c", program], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert alone.returncode == 0 and float(alone.stdout.split()[0]) > 0, alone.stderr


def test_a_label_names_the_attention_that_a_race_chose():
    from ready_steady_go.run.race import Axis
    from ready_steady_go.run.tuning import spec_of
    from ready_steady_go.spec.spec import Spec

    base = Spec(model="bert-base", family="hf", seq_len=32, attention="sdpa", changed="seq_len")
    axes = [Axis("precision", ("fp32", "bf16")), Axis("attention", ("sdpa", "eager"))]
    labels = [spec_of(base, axes, config).label for config in (("bf16", "sdpa"), ("bf16", "eager"))]
    assert labels == ["hf:bert-base bf16, 32 tokens", "hf:bert-base bf16, 32 tokens, eager attention"]
