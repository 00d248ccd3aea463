"Every way to fail, with a real child: the right outcome, a record, and the other points still measured."

import json
import os
import sys

import pytest

from ready_steady_go.run.campaign import Campaign, Collected, PriceLookup, carry_out
from ready_steady_go.run.request import Request
from ready_steady_go.run.screen import Screen
from ready_steady_go.run.search import FixedSizes
from ready_steady_go.run.supervise import UNKILLABLE, Child, ChildGone, Runner, run_ladder
from ready_steady_go.spec.options import RunOptions
from ready_steady_go.spec.spec import Spec
from ready_steady_go.store.journal import Journal
from ready_steady_go.store.record import Record

# A family whose model fails at batch size 4, in the way that its name describes.
FAILING_FAMILY = '''
import ctypes, os, time
import torch
from dataclasses import replace
from ready_steady_go.training.workload import Workload

def fail(name):
    if name == "raises": raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    if name == "exits": os._exit(7)
    if name == "segfaults": ctypes.string_at(0)
    if name == "killed": os.kill(os.getpid(), 9)
    if name == "hangs": time.sleep(600)
    if name == "greedy": torch.empty(10**15)
    if name == "cuda": raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

def has(name): return True
def names(): return []
def complete(spec): return replace(spec, size=8, channels=3, classes=2)

def build(spec, device):
    model = torch.nn.Linear(4, 2)
    def draw(bs):
        if bs == 4: fail(spec.model)
        return torch.randn(bs, 4), torch.randint(2, (bs,))
    def loss(out, y):
        if spec.model == "nan": out = out * float("nan")
        return torch.nn.functional.cross_entropy(out, y)
    return Workload(model, draw, loss)
'''
ENDS = {
    "raises": "failed:RuntimeError",
    "exits": "failed:exit 7",
    "segfaults": "failed:SIGSEGV",
    "killed": "oom",  # the host takes away a process that uses up its memory; this one trains on the CPU
    "hangs": "failed:hang",
    "greedy": "oom",
    "cuda": "oom",
}
START = "import ready_steady_go.training.families as f; f.__path__.append({folder!r}); from ready_steady_go.run.child import main; main()"


@pytest.fixture
def start(tmp_path):
    "Return a function that starts a real child with the failing family."
    (tmp_path / "failing.py").write_text(FAILING_FAMILY)
    return lambda: Child((sys.executable, "-P", "-c", START.format(folder=str(tmp_path))))


class Hasty(Runner):
    "A runner that waits only 3 s for the model that hangs; a busy machine may need longer for the others."

    def point(self, spec, limits, on_beat, silence_s):
        return super().point(spec, limits, on_beat, 3.0 if (spec.model, spec.bs) == ("hangs", 4) else silence_s)


@pytest.mark.parametrize("name,outcome", ENDS.items())
def test_a_failure_has_its_outcome_and_the_rest_is_measured(name, outcome, start):
    runner = Hasty("cpu", start)
    (spec,) = runner.check([Spec(model=f"failing:{name}")])
    records = list(run_ladder(spec, FixedSizes([2, 4, 8]), runner, limits=dict(n_batches=3)))
    runner.end()
    got = {r.bs: r.outcome for r in records}
    assert got[2] == "ok" and got[4] == outcome, records[1].error
    assert got[8] == ("skipped:oom at a smaller batch size" if outcome == "oom" else "ok")
    assert records[1].error and records[1].device_name and "\n" not in records[1].error


def test_a_nan_loss_is_no_result(start):
    runner = Runner("cpu", start)
    (spec,) = runner.check([Spec(model="failing:nan")])
    (record,) = run_ladder(spec, FixedSizes([2]), runner, limits=dict(n_batches=3))
    runner.end()
    assert (record.outcome, record.throughput, record.findings[-1]["code"]) == ("failed:nonfinite", None, "nonfinite")


class Stuck(Child):
    "A child that neither answers nor can be ended, like one that waits for a lost GPU."

    def __init__(self): self.ended = False

    def ask(self, question, *args):
        if question["do"] == "check":
            specs = [dict(s, family="timm", size=8) for s in question["specs"]]
            return dict(specs=specs, machine=dict(device="cuda", device_name="Toy GPU"))
        raise ChildGone(UNKILLABLE, "no sign of life for 1 s, and it cannot be ended")

    def end(self): self.ended = True


def test_a_lost_gpu_ends_the_run_and_keeps_its_records(tmp_path):
    journal = Journal(tmp_path / "j.jsonl")
    request = Request([Spec(model="a"), Spec(model="b")], RunOptions(bs=[2, 4], out=str(journal.path), wandb="off"))
    campaign = Campaign(Screen(quiet=True), Runner(start=Stuck), journal, PriceLookup(None))
    with pytest.raises(RuntimeError, match="rent another box"): carry_out([request], campaign, 0.0, Collected())
    assert [r.outcome for r in journal.read()] == [UNKILLABLE, "skipped:the GPU is lost"]


class Impatient(Child):
    "A child that gives each signal little time."

    def end(self, patience_s=0.2): return super().end(patience_s)


def test_an_unkillable_process_does_not_block(monkeypatch):
    child = Impatient((sys.executable, "-c", "import time; time.sleep(60)"))
    monkeypatch.setattr("os.killpg", lambda *args: None)  # no signal reaches it
    try:
        with pytest.raises(ChildGone) as gone: child.ask({"do": "x"}, limit_s=0.2)
    finally:
        monkeypatch.undo()
        os.killpg(child.process.pid, 9), child.process.wait()
    assert gone.value.outcome == UNKILLABLE


def test_a_failure_is_a_line_of_json(tmp_path, start):
    runner, journal = Runner("cpu", start), Journal(tmp_path / "j.jsonl")
    (spec,) = runner.check([Spec(model="failing:segfaults")])
    for record in run_ladder(spec, FixedSizes([4]), runner, limits=dict(n_batches=3)): journal.append(record)
    runner.end()
    (line,) = journal.path.read_text().splitlines()
    assert Record(**json.loads(line)).outcome == "failed:SIGSEGV"
