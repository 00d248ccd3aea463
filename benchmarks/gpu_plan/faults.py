"The faults of a GPU plan: batches that do not fit, a broken model, a device that is missing, TF32 by the environment."

from .checks import NOT_HERE


def memory_wall(plan):
    "Double the batch size until it no longer fits, then measure the first one again in the same process."
    spec, bs, records = dict(model=plan.pick("resnet50", "test_vit"), precision="fp32"), plan.size(256, 256), []
    with plan.session() as session:
        pid = None
        while not records or (records[-1].ok and bs <= 2**20):
            records.append(session.point(bs, n_seconds=plan.pick(2.0, 0.2), **spec))
            pid, bs = pid or session.pid, 2 * bs
        again = session.point(records[0].bs, n_seconds=plan.pick(2.0, 0.2), **spec)
        same = int(session.pid == pid)
    fitting, plan.too_large = [r for r in records if r.ok], records[-1].bs
    tight = [f for f in fitting[-1].findings or [] if f["code"] == "memory_tight"]
    return {
        "ends with out of memory": int(records[-1].outcome == "oom"), "sizes that fit": len(fitting), "same process goes on": same,
        "first size after / before": again.throughput / fitting[0].throughput, "allocator was short before": len(tight),
    }  # fmt: skip


def forced_oom(plan):
    "Run out of memory in a graph, in inference, and with a language model."
    vision, large = plan.pick("resnet50", "test_vit"), plan.too_large or plan.pick(2**12, 2**18)
    cases = {
        "in a CUDA graph": (large, dict(model=vision, cuda_graph=True)),
        "in a compiled model": (large, dict(model=vision, compile="inductor")),
        "in inference": (plan.pick(2**15, 2**18), dict(model=vision, mode="infer")),
        "in a language model": (2**15, dict(model="hf:gpt2") | plan.pick({}, dict(layers=1))),
    }  # fmt: skip
    found = {"in a compiled model": NOT_HERE}
    with plan.session() as session:
        for name, (bs, case) in cases.items():
            if "compile" not in case or plan.has("triton"): found[name] = int(session.point(bs, precision="fp32", **case).outcome == "oom")
    return found


BROKEN = """
import torch
from torch import nn
from ready_steady_go.training.workload import Workload

class Broken(nn.Linear):
    def forward(self, x):
        torch.zeros(4, device=x.device)[torch.tensor(9, device=x.device)]
        return super().forward(x)

def build(spec, device):
    model = (Broken if spec.model == "broken" else nn.Linear)(8, 2).to(device)
    def draw(bs): return torch.randn(bs, 8, device=device), torch.randint(2, (bs,), device=device)
    return Workload(model, draw, nn.functional.cross_entropy)
"""


def broken_model(plan):
    "Measure a model with a wrong index on the device, which costs one point, and another one."
    (plan.folder / "broken_models.py").write_text(BROKEN, encoding="utf-8")
    run = plan.rsg("--model", "broken_models:broken,broken_models:sound", "--fp32", "--bs", 4, "--n-batches", 5)
    outcomes = {r.model: r.outcome for r in run.records}
    failed, sound = outcomes["broken"].startswith("failed:"), outcomes["sound"] == "ok"
    return {"the broken model failed": int(failed), "the next one has a result": int(sound)}


def devices(plan):
    "Name devices by their numbers; one that is missing is an error in one line."
    small = ("--model", "test_vit", "--fp32", "--bs", 2, "--n-batches", 5)
    first = plan.rsg(*small, "--device", "cuda:0")
    visible = plan.rsg(*small, "--device", "cuda", CUDA_VISIBLE_DEVICES="0")
    absent = plan.rsg(*small, "--device", f"cuda:{plan.facts['n_devices']}")
    return {"exit code of cuda:0": first.code, "with CUDA_VISIBLE_DEVICES=0": visible.code, "exit code of a missing device": absent.code,
            "lines about it": len(absent.err.strip().splitlines())}  # fmt: skip


def tf32_override(plan):
    "Set the variable that turns FP32 into TF32, which must have no effect."
    args = ("--model", plan.pick("vit_small_patch16_224", "test_vit"), "--fp32", "--bs", plan.size(64, 4), "--n-seconds", plan.pick(3, 0.3))
    plain, other = (plan.rsg(*args, **env).best.throughput for env in ({}, dict(NVIDIA_TF32_OVERRIDE="1")))
    return {"with / without override": other / plain}
