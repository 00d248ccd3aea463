"Every way to fail, with a real child: the right outcome, a record, and the other points still measured."

import json
import os
import subprocess
import sys

import pytest

from ready_steady_go.box.process import processes_of
from ready_steady_go.run.campaign import Campaign, Collected, PriceLookup, carry_out
from ready_steady_go.run.request import Request
from ready_steady_go.run.resume import already_measured
from ready_steady_go.run.screen import Screen
from ready_steady_go.run.search import FixedSizes
from ready_steady_go.run.supervise import UNKILLABLE, Child, ChildGone, Runner, run_ladder
from ready_steady_go.spec.errors import UserError
from ready_steady_go.spec.options import RunOptions
from ready_steady_go.spec.spec import Spec
from ready_steady_go.store.journal import Journal
from ready_steady_go.store.record import Record

# A family whose model fails at batch size 4, in the way that its name describes.
FAILING_FAMILY = '''
import ctypes, os, stat, time
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
    if name == "wants 20 GB": torch.empty(20 * 10**9, dtype=torch.uint8)
    if name == "cuda": raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
    if name == "writes": write_to_pipes(b"loss: 0.3\\n")
    if name == "imitates": write_to_pipes(b'{"event": "record", "id": 1, "record": {"outcome": "ok"}}\\n')
    if name == "forks": os.fork()
    if name == "stops the clocks": time.perf_counter = time.monotonic = time.time = lambda: 0.0

def write_to_pipes(text):
    for fd in range(3, 100):
        try:
            if stat.S_ISFIFO(os.fstat(fd).st_mode): os.write(fd, text)
        except OSError: continue

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
    "killed": "failed:SIGKILL",  # not oom: the kernel counts no process that it killed for want of memory
    "hangs": "failed:hang",
    "greedy": "oom",
    "cuda": "oom",
    "writes": "failed:protocol",
    "imitates": "failed:protocol",
}
START = (
    "from ready_steady_go.box.process import begin_child; begin_child(); import ready_steady_go.training.families as f; "
    "f.__path__.append({folder!r}); from ready_steady_go.run.child import main; main()"
)


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


@pytest.mark.parametrize("name", ["forks", "stops the clocks"])
def test_a_strange_model_is_measured(name, start):
    "A copy of the process does not answer in its place, and a clock that is patched is not the one that is used."
    runner = Runner("cpu", start)
    (spec,) = runner.check([Spec(model=f"failing:{name}")])
    records = list(run_ladder(spec, FixedSizes([4, 8]), runner, limits=dict(n_seconds=0.2)))
    child, left = runner.child, processes_of(runner.child.process.pid, runner.child.token)
    runner.end()
    assert [r.outcome for r in records] == ["ok", "ok"], [r.error for r in records]
    assert all(0.2 <= r.duration < 60 for r in records)
    assert len(left) in (0, 3, 4) and processes_of(child.process.pid, child.token) == []  # none on a system without /proc


@pytest.mark.skipif(sys.platform != "linux", reason="ulimit -v bounds the memory of a process on Linux")
def test_a_bounded_process_that_wants_more_memory_is_out_of_memory(start, tmp_path):
    bounded = 'ulimit -v 16000000; exec "$0" -P -c "$1"'
    runner = Runner("cpu", lambda: Child(("sh", "-c", bounded, sys.executable, START.format(folder=str(tmp_path)))))
    (spec,) = runner.check([Spec(model="failing:wants 20 GB")])
    records = list(run_ladder(spec, FixedSizes([2, 4, 8]), runner, limits=dict(n_batches=3)))
    runner.end()
    assert [r.outcome for r in records] == ["ok", "oom", "skipped:oom at a smaller batch size"], [r.error for r in records]


def test_the_child_never_loads_wandb(start):
    code = START.format(folder=".").replace("; main()", "; from ready_steady_go.training.families import load_family; import sys; ")
    code += "[load_family(name) for name in ('timm', 'hf', 'lstm')]; print(sorted(m for m in sys.modules if 'wandb' in m))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "['wandb']\n", done.stderr  # this one is None, which makes an import fail


def test_a_killed_point_is_tried_again(start, tmp_path):
    "A batch size that did not fit is not; the kernel's count makes the difference."
    runner, journal = Runner("cpu", start), Journal(tmp_path / "j.jsonl")
    (spec,) = runner.check([Spec(model="failing:killed")])
    for record in run_ladder(spec, FixedSizes([2, 4]), runner, limits=dict(n_batches=3)): journal.append(record)
    runner.end()
    assert [r.outcome for r in journal.read()] == ["ok", "failed:SIGKILL"]
    known = already_measured(journal.read(), spec, runner.machine, dict(n_batches=3))
    assert [r.bs for r in known] == [2]


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


class Gone(Stuck):
    "A child that dies at its point; a later one cannot use the GPU any more."

    started = 0

    def __init__(self):
        super().__init__()
        Gone.started += 1
        self.number = Gone.started

    def ask(self, question, *args):
        if self.number > 1: raise UserError("--device cuda: torch cannot use a GPU; remove --device")
        if question["do"] == "check": return super().ask(question, *args)
        raise ChildGone("failed:SIGABRT", "ended by SIGABRT")


def test_a_gpu_that_is_refused_after_the_start_is_a_failure_and_the_run_ends_in_order(tmp_path, monkeypatch):
    from ready_steady_go.run import campaign as module

    pushed = []
    monkeypatch.setattr(module, "push_after_run", lambda options, path, made: pushed.append(len(made)))
    monkeypatch.setattr(Gone, "started", 0)
    journal = Journal(tmp_path / "j.jsonl")
    request = Request([Spec(model="a"), Spec(model="b")], RunOptions(bs=[2, 4], out=str(journal.path), wandb="off"))
    campaign = Campaign(Screen(quiet=True), Runner(start=Gone), journal, PriceLookup(None))
    assert carry_out([request], campaign, 0.0, Collected()) == 1 and pushed == [4]
    records = journal.read()
    assert [r.outcome for r in records][:2] == ["failed:SIGABRT", "failed:refused"] and "torch cannot use a GPU" in records[1].error


class Fallen(Gone):
    "A child that dies at its point; a later one finds only the CPU, and would measure there."

    def ask(self, question, *args):
        if question["do"] == "check": return dict(specs=[], machine=dict(device="cuda" if self.number == 1 else "cpu", device_name="Toy"))
        if self.number == 1: raise ChildGone("failed:SIGABRT", "ended by SIGABRT")
        raise AssertionError("it was measured on the CPU")


def test_a_run_does_not_go_on_with_the_cpu(monkeypatch):
    monkeypatch.setattr(Gone, "started", 0)
    runner, spec = Runner(start=Fallen), Spec(model="a", bs=2, n_gpus=1)
    runner.check([])
    records = [runner.point(spec, {}) for _ in range(3)]
    assert [(r.outcome, r.device) for r in records] == [("failed:SIGABRT", "cuda")] + [("failed:refused", "cuda")] * 2
    assert records[1].error == "the device cuda is gone, and a new process finds cpu only"


@pytest.mark.parametrize("work", ["check", "training", "agreement"])
def test_no_other_work_of_a_run_goes_on_with_the_cpu(monkeypatch, work):
    from ready_steady_go.run.quality import ask_training
    from ready_steady_go.run.tune_child import ask_agreement

    monkeypatch.setattr(Gone, "started", 0)
    runner, spec = Runner(start=Fallen), Spec(model="a", bs=2, n_gpus=1)
    asked = dict(check=lambda: runner.check([spec]), agreement=lambda: ask_agreement(runner, spec, spec))
    asked["training"] = lambda: ask_training(runner, spec, None, 1)
    runner.check([])
    if work == "training": assert asked[work]() == dict(error="ended by SIGABRT")
    runner.end()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="device cuda is gone, and a new process finds cpu only; .*rent another box"): asked[work]()
        assert runner.lost and runner.child is None and runner.machine.device == "cuda"


def test_a_device_that_is_refused_before_the_first_point_is_a_mistake(monkeypatch):
    monkeypatch.setattr(Gone, "started", 1)
    with pytest.raises(UserError, match="torch cannot use a GPU"): Runner(start=Gone).point(Spec(model="a", bs=2, n_gpus=1), {})


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
