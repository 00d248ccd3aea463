"Weights spread over ranks: steps of two ranks equal steps of one process on the same samples, and what cannot be spread is refused."

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic import point

from ready_steady_go.run.request import Request
from ready_steady_go.run.supervise import Runner
from ready_steady_go.spec.errors import UserError
from ready_steady_go.spec.spec import Spec
from ready_steady_go.store.record import settings_key
from ready_steady_go.training.prepare import with_fused

# Each case: one process on 8 samples, and two ranks on 4 of them each. Prints how much of the weights' change differs.
STEPS = """
import json, os, sys
import torch, torch.distributed as dist
from ready_steady_go.spec.spec import Spec
from ready_steady_go.training.families import load_family, resolve
from ready_steady_go.training.prepare import make_step, prepare_workload
from ready_steady_go.training.sharded import blocks_of, shard, share_weights

torch.set_num_threads(1)
cases, cpu = json.loads(sys.stdin.read()), torch.device("cpu")

def built(spec):
    torch.manual_seed(0)
    return prepare_workload(load_family(spec.family).build(spec, cpu), spec)

def whole(p): return p.full_tensor() if hasattr(p, "full_tensor") else p
def weights(work): return torch.cat([whole(p).detach().flatten() for p in work.model.parameters()])

def trained(spec, work, part):
    "Return the weights after three steps on a part of the samples."
    step = make_step(work, spec)
    if dist.is_initialized(): share_weights(step, spec)
    torch.manual_seed(1)
    inputs, targets = work.draw(8)
    step.inputs, step.targets = inputs[part], targets[part]
    for _ in range(3): step()
    return weights(work)

def on_rank(rank):
    "Write the weights of each case, from two ranks."
    dist.init_process_group("gloo", store=dist.FileStore("store", 2), rank=rank, world_size=2)
    for i, case in enumerate(cases):
        spec = resolve(Spec(**case, bs=4))
        work = built(spec)
        if rank: work.model.apply(lambda m: [p.data.zero_() for p in m.parameters(recurse=False)])  # rank 0 decides
        shard(work, spec)
        found = trained(spec, work, slice(4 * rank, 4 * rank + 4))
        local = sum(p.to_local().numel() for p in work.model.parameters())
        if rank == 0: torch.save((found, local), f"case{i}")
    os._exit(0)

children = []
for rank in 0, 1:
    children.append(os.fork())
    if not children[-1]: on_rank(rank)
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
for i, case in enumerate(cases):
    spec = resolve(Spec(**case, bs=8))
    work = built(spec)
    before, blocks = weights(work), len(blocks_of(work.model))
    alone, (found, local) = trained(spec, work, slice(0, 8)), torch.load(f"case{i}")
    change = (alone - before).norm().item()
    differs, share = (found - alone).norm().item() / change, local / len(before)
    print(json.dumps(dict(codes=codes, change=change, differs=differs, blocks=blocks, share=share)))
"""
LSTM = dict(model="lstm", family="lstm", layers=2, emb_dim=8, hid_dim=8, vocab=50, seq_len=8, dropout=0.0, optimizer="sgd")
CASES = [
    dict(model="test_vit", lr=0.1),
    dict(model="test_vit", lr=0.1, grad_accum=2, clip=0.5, checkpointing=True),
    dict(model="test_vit", lr=0.001, optimizer="adamw", fused=True),
    dict(model="test_vit", lr=0.001, optimizer="adamw", fused=True, precision="fp16"),
    LSTM | dict(lr=0.1),
]
NEAR = dict(fp32=1e-3, fp16=0.02)


@pytest.mark.skipif(sys.platform != "linux", reason="the ranks are copies of a process")
def test_steps_of_two_ranks_are_those_of_one_process(tmp_path):
    done = subprocess.run([sys.executable, "-c", STEPS], cwd=tmp_path, input=json.dumps(CASES), capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    for case, line in zip(CASES, done.stdout.splitlines(), strict=True):
        found = json.loads(line)
        assert found["codes"] == [0, 0] and found["change"] > 0 and 0.4 < found["share"] < 0.6, (case, found)
        assert found["differs"] < NEAR[case.get("precision", "fp32")], (case, found)


FAILING = """
import os
import torch
from torch import nn
from ready_steady_go.training.workload import Workload

class Net(nn.Module):
    "Runs out of memory at batch size 8, on rank 1."
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(*(nn.Linear(8, 8) for _ in range(3)))

    def forward(self, x):
        if (len(x), os.environ.get("RANK")) == (8, "1"): raise torch.OutOfMemoryError("CUDA out of memory.")
        return self.layers(x)

def build(spec, device):
    def draw(bs): return torch.randn(bs, 8, device=device), torch.randint(2, (bs,), device=device)
    return Workload(Net().to(device), draw, nn.functional.cross_entropy)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the processes of a run are found in /proc")
def test_a_point_of_spread_weights_and_one_out_of_memory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("spread_ranks.py").write_text(FAILING, encoding="utf-8")
    runner = Runner("cpu")
    (spec,) = runner.check([Spec(model="spread_ranks:net", n_gpus=2, strategy="fsdp2")])
    whole = runner.point(replace(spec, bs=4), dict(n_batches=12))
    full = runner.point(replace(spec, bs=8), dict(n_batches=12, brief=True))
    runner.end()
    assert (whole.outcome, whole.strategy, whole.global_bs, whole.n_items) == ("ok", "fsdp2", 8, 96), whole.error
    assert whole.label.endswith("2 processes, fsdp2, gloo, " + whole.label.rpartition(", ")[2])
    assert len(whole.local_step_ms) == 2 and whole.scaling_efficiency > 0 and whole.single_throughput > 0 and whole.allreduce_busbw > 0
    assert whole.exposed_comm is None and whole.forward_ms is None  # no such step exists without communication
    assert whole.allreduce_bytes == 4 * 3 * (64 + 8) and not {f["code"] for f in whole.findings} & {"passes_failed", "nonfinite"}
    assert (full.outcome, full.error) == ("oom", "rank 1: OutOfMemoryError: CUDA out of memory.")


def test_the_strategy_is_in_the_key_and_in_the_label():
    ddp, fsdp2 = (replace(point(), n_gpus=2, backend="nccl", strategy=s) for s in ("ddp", "fsdp2"))
    assert settings_key(ddp) != settings_key(fsdp2) and fsdp2.label == ddp.label + ", fsdp2"
    specs = Request.from_options(dict(model="a", gpus="1,2", strategy="fsdp2")).specs
    assert [(s.n_gpus, s.strategy) for s in specs] == [(1, None), (2, "fsdp2")]
    spread = Spec(model="a", family="timm", optimizer="sgd", n_gpus=2, strategy="fsdp2")
    assert with_fused(spread, type("Gpu", (), dict(type="cuda"))).fused is False  # torch has no such kernel


WRONG = {
    ("--strategy", "fsdp2"): "one GPU has all weights; add --gpus 2",
    ("--strategy", "fsdp3", "--gpus", "2"): "did you mean 'fsdp2'?",
    ("--strategy", "fsdp2", "--gpus", "2", "--compile", "inductor"): "remove --compile",
    ("--strategy", "fsdp2", "--gpus", "2", "--layout", "channels_last"): "remove --layout",
    ("--strategy", "fsdp2", "--gpus", "2", "--optimizer", "sgd", "--fp16"): "use --optimizer adamw or --bf16",
    ("--strategy", "fsdp2", "--gpus", "2", "--optimizer", "sgd", "--fused"): "use --optimizer adamw, or remove --fused",
    ("--strategy", "fsdp2", "--gpus", "2", "--cuda-graph"): "remove --cuda-graph",
    ("--strategy", "fsdp2", "--gpus", "2", "--mode", "infer", "--fp16", "--half-weights"): "shares nothing between GPUs",
}


@pytest.mark.parametrize("args", WRONG, ids=" ".join)
def test_what_cannot_be_is_one_line(args):
    typed, words = {}, [*args, "--"]
    for name, value in zip(words, words[1:]):
        if name.startswith("--") and name != "--": typed[name[2:].replace("-", "_")] = True if value.startswith("--") else value
    with pytest.raises(UserError) as error: Request.from_options(dict(model="a") | typed)
    assert WRONG[args] in str(error.value) and "\n" not in str(error.value)
