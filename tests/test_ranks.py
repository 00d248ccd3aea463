"Several devices: ranks on the CPU with gloo, one clock for all of them, and every failure of a rank."

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic import point

from ready_steady_go.box.machine import Machine
from ready_steady_go.box.process import processes_of
from ready_steady_go.run import supervise
from ready_steady_go.run.campaign import skipped_records
from ready_steady_go.run.request import Request, options_for
from ready_steady_go.run.supervise import Runner, rank_gone
from ready_steady_go.run.world import world_command
from ready_steady_go.spec.spec import Spec
from ready_steady_go.store.record import from_line, settings_key, to_line
from ready_steady_go.timing.measure import measure
from ready_steady_go.timing.scaling import SharedClock

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the processes of a run are found in /proc")


def rsg(folder, *args):
    "Run the command; return exit code, stdout and stderr."
    done = subprocess.run([sys.executable, "-m", "ready_steady_go", *args], cwd=folder, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout, done.stderr


def test_a_ladder_of_one_and_of_two_ranks(tmp_path):
    args = ["--model", "resnet18", "--size", "64", "--bs", "2", "--gpus", "1,2", "--device", "cpu", "--n-batches", "6"]
    code, out, err = rsg(tmp_path, *args)
    assert code == 0, err
    one, two = (from_line(line) for line in (tmp_path / "rsg-results.jsonl").read_text(encoding="utf-8").splitlines())
    assert (one.n_gpus, one.strategy, one.backend, one.global_bs, one.n_items) == (1, None, None, None, 12)
    assert (two.n_gpus, two.strategy, two.backend, two.global_bs, two.n_items) == (2, "ddp", "gloo", 4, 24)
    assert not {"strategy", "backend", "global_bs", "scaling_efficiency", "ranks"} & json.loads(to_line(one)).keys()
    assert two.single_throughput > 0 and two.scaling_efficiency == pytest.approx(two.throughput / 2 / two.single_throughput, rel=1e-5)
    assert len(two.local_step_ms) == 2 and two.allreduce_bytes == 4 * two.n_params and two.allreduce_busbw > 0
    assert two.allreduce_busbw_256mb is None and two.ranks is None  # a CPU has neither links nor sensors
    assert settings_key(one) != settings_key(two)
    assert "resnet18 fp32, 64 px\n" in out and "resnet18 fp32, 64 px, 2 processes, gloo\n" in out
    assert f"% of {two.n_gpus} alone" in out


FAILING = """
import os, signal
import torch
from torch import nn
from ready_steady_go.training.workload import Workload

class Net(nn.Module):
    "Runs out of memory at batch size 4 on rank 1, in its plain step; at batch size 8, rank 0 is killed when gradients are shared."
    def __init__(self):
        super().__init__()
        self.layer, self.calls = nn.Linear(8, 2), {}

    def forward(self, x):
        n = self.calls[len(x)] = self.calls.get(len(x), 0) + 1
        rank = os.environ.get("RANK")
        if (len(x), rank, n) == (4, "1", 1): raise torch.OutOfMemoryError("CUDA out of memory.")
        if (len(x), rank, n) == (8, "0", 6): os.kill(os.getpid(), signal.SIGKILL)
        return self.layer(x)

def build(spec, device):
    def draw(bs): return torch.randn(bs, 8, device=device), torch.randint(2, (bs,), device=device)
    return Workload(Net().to(device), draw, nn.functional.cross_entropy)
"""


@LINUX
def test_out_of_memory_keeps_the_ranks_and_a_death_ends_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("failing_ranks.py").write_text(FAILING, encoding="utf-8")
    runner, limits = Runner("cpu"), dict(n_batches=20, brief=True)
    (spec,) = runner.check([Spec(model="failing_ranks:net", n_gpus=2, strategy="ddp")])
    first = runner.point(replace(spec, bs=4), limits)
    world = runner.child
    second = runner.point(replace(spec, bs=2), limits)
    more = dict(layout="channels_last", grad_accum=2, checkpointing=True, clip=1.0, size=32)
    (images,) = runner.check([Spec(model="test_resnet", n_gpus=2, strategy="ddp", **more)])  # by the ranks themselves
    other = runner.point(replace(images, bs=4), limits)
    assert (first.outcome, second.outcome, other.outcome) == ("oom", "ok", "ok") and runner.child is world
    assert world.ask(dict(do="reduce", n_bytes=2**20))["busbw"] > 0  # the doctor's question
    assert (other.global_bs, other.n_items) == (16, 20 * 16) and "stride" not in runner.child.errors.kept.decode()
    assert first.error == "rank 1 of 2: OutOfMemoryError: CUDA out of memory."
    third = runner.point(replace(spec, bs=8), limits)
    assert third.outcome == "failed:rank 0 SIGKILL" and third.error.startswith("rank 0: ended by SIGKILL")
    assert runner.child is None and processes_of(world.process.pid, world.token) == []


EAGER = """
import torch
from torch import nn
from ready_steady_go.training.workload import Workload

class Eager(torch.optim.SGD):
    "Has its state from the start, as Adagrad: an older torch does not make it again."
    def __init__(self, *args, **more):
        super().__init__(*args, **more)
        for p in self.param_groups[0]["params"]: self.state[p]["sum"] = torch.zeros_like(p)

    def step(self, closure=None):
        for p in self.param_groups[0]["params"]: self.state[p]["sum"].add_(p.grad.square())
        return super().step(closure)

def build(spec, device):
    def draw(bs): return torch.randn(bs, 8, device=device), torch.randint(2, (bs,), device=device)
    return Workload(nn.Linear(8, 2).to(device), draw, nn.functional.cross_entropy, lambda model, fused: Eager(model.parameters(), lr=0.1))
"""


def test_an_optimizer_whose_state_exists_from_the_start(tmp_path):
    (tmp_path / "own_eager.py").write_text(EAGER)
    code, _, err = rsg(tmp_path, *"--model own_eager:net --bs 4 --gpus 2 --device cpu --n-batches 6".split())
    (record,) = (from_line(line) for line in (tmp_path / "rsg-results.jsonl").read_text(encoding="utf-8").splitlines())
    assert (code, record.outcome, record.n_items) == (0, "ok", 48), (record.error, err)


def test_a_rank_that_the_kernel_killed_is_out_of_host_memory():
    end = rank_gone("failed:rank 1 SIGKILL", "rank 1: ended by SIGKILL", True, (0, 1))
    assert end.oom_killed and str(end) == "rank 1: killed by the kernel: the host has too little memory; rent a box with more RAM"
    assert not rank_gone("failed:rank 1 exit 7", "rank 1: ended with exit code 7", False, (0, 1)).oom_killed


class Scripted:
    "A rank whose steps last as long as a list says, with the numbers of all ranks."

    ahead = 0

    def __init__(self, seconds, group, rank):
        self.seconds_of, self.group, self.rank, self.now, self.steps = seconds, group, rank, 0.0, 0

    def __call__(self):
        self.now += self.seconds_of(self.steps)
        self.steps += 1

    def mark(self): return self.now

    def seconds(self, a, b): return b - a

    def gather(self, value):
        self.group["values"][self.rank] = value
        self.group["barrier"].wait(30)
        values = list(self.group["values"])
        self.group["barrier"].wait(30)
        return values


def test_the_slowest_rank_decides_and_all_take_the_same_steps():
    group, found = dict(values=[None] * 3, barrier=threading.Barrier(3)), {}
    speeds = [lambda n: 0.010, lambda n: 0.02 if n < 20 else 0.010, lambda n: 0.012 + 0.001 * (n % 3)]

    def run(rank):
        clock = Scripted(speeds[rank], group, rank)
        found[rank] = measure(clock, 8 * 3, SharedClock(clock, clock.gather), limit_s=5.0), clock.steps

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(3)]
    for thread in threads: thread.start()
    for thread in threads: thread.join(60)
    (m, steps), *others = found.values()
    assert len(found) == 3 and all((other.windows, n) == (m.windows, steps) for other, n in others)
    assert m.throughput == pytest.approx(24 / 0.013, rel=0.01)  # 13 ms: the mean of the third one's steps


def test_points_of_another_number_strategy_or_backend_never_share_a_group():
    base = point()
    others = [replace(base, n_gpus=n, strategy=s, backend=b) for n, s, b in [(2, "ddp", "nccl"), (4, "ddp", "nccl"), (2, "ddp", "gloo")]]
    assert len({settings_key(r) for r in [base, *others]}) == len({r.label for r in [base, *others]}) == 4
    assert settings_key(replace(base, strategy=None, backend=None)) == settings_key(base)


def test_each_number_of_gpus_is_a_spec():
    specs = Request.from_options(dict(model="a,b", fp16=True, gpus="1,4")).specs
    assert [(s.model, s.n_gpus, s.strategy) for s in specs] == [("a", 1, None), ("a", 4, "ddp"), ("b", 1, None), ("b", 4, "ddp")]
    assert Request.from_options(dict(model="a")).specs == [Spec(model="a")]


def test_one_device_starts_no_ranks(monkeypatch):
    started = []
    monkeypatch.setattr(supervise, "Child", lambda *args: started.append(args))
    for n in 1, 2:
        runner = Runner("cpu", lambda: started.append("child"))
        runner.machine = point() and type("Toy", (), dict(device="cuda:0"))
        runner._use_devices(n)
        runner.begin()
    assert started == ["child", (world_command(2, "cuda"), 2)]


def test_gpus_share_a_global_batch():
    request = Request.from_options(dict(model="a", gpus="1,2,4", global_bs="64"))
    assert [options_for(request.options, spec).bs for spec in request.specs] == [[64], [32], [16]]
    records = [*skipped_records(request, replace(request.specs[2], family="timm"), Machine(device="cpu", device_name="Toy CPU"))]
    assert [(r.n_gpus, r.bs, r.outcome) for r in records] == [(4, 16, "skipped:budget")]


WRONG = {
    ("--gpus", "2", "--device", "cpu", "--global-bs", "5"): "cannot share it equally; use a multiple of 2",
    ("--gpus", "0"): "expected a whole number of at least 1",
    ("--gpus", "2", "--mode", "infer"): "shares nothing between GPUs",
    ("--gpus", "2", "--cuda-graph"): "cannot hold the exchange",
    ("--gpus", "2", "--device", "cuda:1"): "is one GPU; use --device cuda",
}


@pytest.mark.parametrize("args", WRONG, ids=" ".join)
def test_what_cannot_be_is_one_line(args, tmp_path):
    code, out, err = rsg(tmp_path, "--model", "test_resnet", *args)
    assert code == 2 and WRONG[args] in err and len(err.splitlines()) == 1 and not os.listdir(tmp_path)


@pytest.mark.parametrize("names, share, outcome, mfu", [
    (["Tesla T4"] * 2, 0.5, "ok", 0.5), (["Tesla T4"] * 2, 1.5, "impossible", 1.5),
    (["Tesla T4", "NVIDIA A100-SXM4-80GB"], 1.5, "ok", None), (["Tesla T4", "NVIDIA A100-SXM4-80GB"], 8.0, "impossible", None),
])  # fmt: skip
def test_cards_that_differ_have_no_mfu_and_the_limit_of_the_fastest(names, share, outcome, mfu):
    "Rank 0 has a T4 of 65.1 TFLOP/s."
    from ready_steady_go.box.machine import Machine
    from ready_steady_go.run.ranks import RankBench, Ranks
    from ready_steady_go.timing.measure import Measurement
    from ready_steady_go.training.families import resolve
    from ready_steady_go.truth.flops import forward_flops

    bench, spec = RankBench.__new__(RankBench), resolve(Spec(model="resnet50", precision="fp16", bs=8, n_gpus=2, strategy="ddp"))
    machine = Machine(device="cuda", device_name="Tesla T4", gpu_sm_count=40)
    vars(bench).update(ranks=Ranks(0, 2), machine=machine, names=names, ceiling=60.0, max_clock=None, doubts=[], remeasured=True)
    step_s = 16 * 3 * forward_flops(spec) / (share * 2 * 65.1e12)
    record = bench._judge(spec, Measurement(16, [(1, step_s)] * 9), [], {})
    assert (record.outcome, record.device_name, bench.ceiling) == (outcome, "Tesla T4", 60.0)
    assert record.mfu == (mfu and pytest.approx(mfu)) and (record.ceiling_share is None) is (mfu is None)
