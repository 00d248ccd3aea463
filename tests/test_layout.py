"channels_last is tried once at the best batch size of a search: what is recorded, what is shown, and what does not change."

import time
from dataclasses import replace

import pytest

from ready_steady_go.box.machine import Machine
from ready_steady_go.commands.suite import request_of
from ready_steady_go.run.campaign import run
from ready_steady_go.run.request import Request
from ready_steady_go.run.screen import Screen
from ready_steady_go.run.suite_file import load_suite
from ready_steady_go.run.supervise import Runner
from ready_steady_go.spec.errors import UserError
from ready_steady_go.store.journal import Journal
from ready_steady_go.store.record import make_record, settings_key
from ready_steady_go.timing.measure import Measurement

GPU = Machine(device="cuda", device_name="Toy GPU 3000", gpu_mem=24 * 2**30, driver="550.54", pytorch="2.4.1+cu121")
FASTER = 1.25


class Toy(Runner):
    "A device that is a formula: channels_last is `FASTER`, and 200 samples fit."

    def __init__(self, gpu=GPU, size=224, trial=None):
        super().__init__()
        self.machine, self.size, self.trial, self.soaked = gpu, size, trial, []

    def check(self, specs):
        return [replace(s, family="timm", size=self.size, seq_len=None if self.size else 128) for s in specs]

    def point(self, spec, limits, on_beat, silence_s):
        length = {name: limits.get(name) for name in ("n_seconds", "n_batches", "run_number", "soak")}
        other = spec.layout == "channels_last"
        if other and isinstance(self.trial, Exception): raise self.trial
        if other and self.trial: return make_record(spec, self.machine, outcome=self.trial, error="an error", **length)
        if spec.bs > 200: return make_record(spec, self.machine, outcome="oom", **length)
        step = (0.01 + spec.bs * 0.0012) / (FASTER if other else 1)
        m = Measurement(spec.bs, [(10, 10 * step * (1 + i % 3 / 1000)) for i in range(50)], 1.0, 0.1, True)
        more = dict(burst_throughput=1.0, sustained_throughput=1.0, soak_s=60.0, flat=True) if length["soak"] else {}
        return make_record(spec, self.machine, m, peak_mem_bytes=spec.bs * 10**8, **length, **more)


@pytest.fixture
def search(tmp_path, capsys):
    "Run a search: options, and the toy's settings -> exit code, stdout, stderr, all records of the journal."

    def go(toy=None, **typed):
        out = str(tmp_path / "journal.jsonl")
        usual = dict(model="resnet50", out=out, wandb="off", search_until="64", budget="300")
        request = Request.from_options(usual | typed)
        code = run([request], Screen(), time.monotonic(), toy or Toy())
        return code, *capsys.readouterr(), Journal(out).read()

    return go


def trials(records):
    return [r for r in records if r.search == "layout"]


def test_the_best_batch_size_is_measured_once_more(search):
    code, out, err, records = search(fp16=True)
    (trial,) = trials(records)
    best = max((r for r in records if r.search == "confirm"), key=lambda r: r.throughput)
    assert code == 0 and records[-1] == trial and (trial.layout, trial.bs, trial.ok) == ("channels_last", best.bs, True)
    assert trial.throughput / best.throughput == pytest.approx(FASTER, rel=0.01) and trial.search_stopped is None
    assert settings_key(trial) != settings_key(best) and trial.key != best.key and trial.label == f"{best.label}, channels_last"
    lines = out.splitlines()
    assert any(line.endswith("NHWC +25%") for line in lines)
    (at,) = [i for i, line in enumerate(lines) if line.startswith("* resnet50 fp16, 224 px: ")]
    assert f"  channels_last: 1.25x ± 0.01 at batch size {best.bs}; add --layout channels_last" in lines[at + 1 :]
    assert f"samples/s at batch size {best.bs}" in lines[at] and f"{best.throughput:.0f}"[:2] in lines[at]


def test_it_is_not_measured_twice(search):
    first = search(fp16=True)[3]
    code, out, err, again = search(fp16=True)
    assert code == 0 and again == first and "1.25x" in out and "points from the journal" in err
    (_, fresh) = trials(search(fp16=True, fresh=True)[3])
    assert fresh.id != trials(first)[0].id


def test_a_ladder_in_channels_last_is_its_own(search):
    "The trial counts neither as one of its points, nor as its answer."
    search(fp16=True)
    code, out, err, records = search(fp16=True, layout="channels_last")
    own = [r for r in records if r.layout == "channels_last" and r.search != "layout"]
    assert code == 0 and [r.search for r in own][-1] == "confirm" and "from the journal" not in err and "x ±" not in out


@pytest.mark.parametrize("why,typed,toy", [
    ("a layout was typed", dict(fp16=True, layout="nchw"), {}),
    ("a list of batch sizes", dict(fp16=True, bs="8,16", search_until=None), {}),
    ("FP32 has no tensor cores", dict(fp32=True), {}),
    ("a CPU", dict(bf16=True), dict(gpu=replace(GPU, device="cpu", cpu_cores=4, ram_bytes=2**34))),
    ("no images", dict(bf16=True), dict(size=None)),
])  # fmt: skip
def test_it_is_not_tried(search, why, typed, toy):
    code, out, err, records = search(Toy(**toy), **typed)
    assert code == 0 and records and not trials(records) and "channels_last" not in out.replace(", channels_last", ""), why
    assert not [r for r in records if r.layout != "nchw"]


@pytest.mark.parametrize("outcome,text", [("oom", "does not fit"), ("failed:SIGSEGV", "failed: SIGSEGV")])
def test_a_trial_that_fails_changes_neither_the_exit_code_nor_the_answer(search, outcome, text):
    code, out, err, records = search(Toy(trial=outcome), fp16=True)
    assert code == 0 and [r.outcome for r in trials(records)] == [outcome]
    assert f"  channels_last: {text} at batch size" in out and "* resnet50 fp16, 224 px: " in out and "an error" not in err


def test_a_model_that_has_a_size_but_no_images_is_measured_as_before(search):
    code, out, err, records = search(Toy(trial=UserError("--layout channels_last: own:net has no images; remove it")), fp16=True)
    assert code == 0 and not trials(records) and "channels_last" not in out + err


def test_the_soak_is_that_of_the_request(search):
    code, out, err, records = search(fp16=True, soak="20s")
    assert code == 0 and [r.search for r in records[-2:]] == ["layout", "soak"] and records[-1].layout == "nchw"


def test_without_time_a_note_names_the_remedy(search):
    code, out, err, records = search(fp16=True, budget="9")
    assert code == 0 and not trials(records) and "channels_last was not tried: the budget is spent; use a larger --budget" in err


@pytest.mark.parametrize("name", ["classic", "quick"])
def test_a_suite_measures_what_its_file_lists(name):
    requests = [request_of(run, {}) for run in load_suite(name).runs]
    assert requests and all(request.layout_chosen for request in requests)
