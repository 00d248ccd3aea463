"Part 3: what the paper promises, the end of the memory, broken models, and heat."

import statistics

from .checks import NOT_HERE, Check, exactly, least, most, none, ratio, yes
from .part1 import SUITE_BANDS, suite

SMALLEST_SHARE = 0.8  # of ten intervals that hold the others' mean: fewer have a chance of 1 % if each holds it with 95 %


def spread_of(rates):
    "Return the range of throughputs as a share of their mean."
    return (max(rates) - min(rates)) / statistics.fmean(rates)


def coverage_of(points):
    "Return the share of the (throughput, half width) whose interval holds the mean of all others."
    held = 0
    for i, (rate, half) in enumerate(points):
        others = statistics.fmean(r for j, (r, _) in enumerate(points) if j != i)
        held += abs(others - rate) <= half
    return held / len(points)


def processes(plan):
    "Measure the same point in ten processes."
    points, spec = [], dict(model=plan.pick("resnet50", "test_vit"), precision=plan.half)
    for _ in range(plan.pick(10, 2)):
        with plan.session() as session: record = session.point(plan.pick(256, 4), steady=not plan.short, **spec)
        points.append((record.throughput, record.throughput_ci95 or 0.0))  # a single window has no interval
    rates, halves = zip(*points)
    return {
        "processes": len(points), "range / mean": spread_of(rates), "intervals that hold the rest": coverage_of(points),
        "half width, share of the rate": statistics.median(halves) / statistics.fmean(rates),
    }  # fmt: skip


def regret_of(rates, chosen):
    "Return how far the throughput at the chosen batch size is below the best, as a share of the best."
    return 1 - rates[chosen] / max(rates.values())


def ladder(plan):
    "Compare the answer of the search with the best of all multiples of 16."
    model, last = plan.pick("vit_small_patch16_224", "test_vit"), plan.pick(1024, 48)
    run = plan.rsg("--model", model, f"--{plan.half}", "--search-until", last, *plan.pick((), ("--budget", 10)))
    spec = dict(model=model, precision=plan.half)
    with plan.session() as session:
        sizes = [*range(16, last + 1, 16)]
        rate = lambda bs, seconds: session.point(bs, n_seconds=seconds, brief=True, **spec).throughput or 0
        short = {bs: rate(bs, plan.pick(0.7, 0.2)) for bs in sizes}
        top = sorted(sizes, key=short.get)[-3:]  # the maximum of noisy numbers is too high: measure the best again
        rates = {bs: rate(bs, plan.pick(2.0, 0.3)) for bs in {*top, run.best.bs}}
    return {
        "batch sizes in the ladder": len(sizes), "batch sizes in the search": len(run.records), "seconds of the search": run.seconds,
        "best of the ladder": max(rates, key=rates.get), "best of the search": run.best.bs,
        "share lost by the search": regret_of(rates, run.best.bs),
    }  # fmt: skip


def memory_wall(plan):
    "Double the batch size until it no longer fits, then measure the first one again in the same process."
    spec, bs, records = dict(model=plan.pick("resnet50", "test_vit"), precision="fp32"), 256, []
    with plan.session() as session:
        pid = None
        while not records or (records[-1].ok and bs <= 2**20):
            records.append(session.point(bs, n_seconds=plan.pick(2.0, 0.2), **spec))
            pid, bs = pid or session.pid, 2 * bs
        again = session.point(records[0].bs, n_seconds=plan.pick(2.0, 0.2), **spec)
        same = int(session.pid == pid)
    fitting = [r for r in records if r.ok]
    tight = [f for f in fitting[-1].findings or [] if f["code"] == "memory_tight"]
    return {
        "ends with out of memory": int(records[-1].outcome == "oom"), "sizes that fit": len(fitting), "same process goes on": same,
        "first size after / before": again.throughput / fitting[0].throughput, "allocator was short before": len(tight),
    }  # fmt: skip


def forced_oom(plan):
    "Run out of memory in a graph, in inference, and with a language model."
    vision, large = plan.pick("resnet50", "test_vit"), 2**18
    cases = {
        "in a CUDA graph": dict(model=vision, cuda_graph=True), "in inference": dict(model=vision, mode="infer"),
        "in a language model": dict(model="hf:gpt2") | plan.pick({}, dict(layers=1)),
    }  # fmt: skip
    with plan.session() as session:
        found = {name: int(session.point(large, precision="fp32", **case).outcome == "oom") for name, case in cases.items()}
        compiled = dict(model=vision, compile="inductor", precision="fp32")
        return found | {"in a compiled model": int(session.point(large, **compiled).outcome == "oom") if plan.has("triton") else NOT_HERE}


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
    "A wrong index on the device costs one point."
    (plan.folder / "broken_models.py").write_text(BROKEN, encoding="utf-8")
    run = plan.rsg("--model", "broken_models:broken,broken_models:sound", "--fp32", "--bs", 4, "--n-batches", 5)
    outcomes = {r.model: r.outcome for r in run.records}
    failed, sound = outcomes["broken"].startswith("failed:"), outcomes["sound"] == "ok"
    return {"the broken model failed": int(failed), "the next one has a result": int(sound)}


def devices(plan):
    "Devices are found by their numbers, and one that is missing is one line."
    small = ("--model", "test_vit", "--fp32", "--bs", 2, "--n-batches", 5)
    first = plan.rsg(*small, "--device", "cuda:0")
    visible = plan.rsg(*small, CUDA_VISIBLE_DEVICES="0")
    absent = plan.rsg(*small, "--device", f"cuda:{plan.facts['n_devices']}")
    return {"exit code of cuda:0": first.code, "with CUDA_VISIBLE_DEVICES=0": visible.code, "exit code of a missing device": absent.code,
            "lines about it": len(absent.err.strip().splitlines())}  # fmt: skip


def tf32_override(plan):
    "A variable of the environment does not turn FP32 into TF32."
    args = ("--model", plan.pick("vit_small_patch16_224", "test_vit"), "--fp32", "--bs", plan.pick(64, 4), "--n-seconds", plan.pick(3, 0.3))
    plain, other = (plan.rsg(*args, **env).best.throughput for env in ({}, dict(NVIDIA_TF32_OVERRIDE="1")))
    return {"with / without override": other / plain}


def soak(plan):
    "Load the GPU for a minute."
    args = ("--model", plan.pick("resnet50", "test_vit"), f"--{plan.half}", "--bs", plan.pick(256, 4), "--soak", plan.pick(70, 6))
    run = plan.rsg(*args, *plan.pick((), ("--n-seconds", 0.3)))
    (r,) = [r for r in run.records if r.soak]
    watts = NOT_HERE
    if r.energy_from == "counter" and r.power_w: watts = r.joules_per_step / (r.wall_ms / 1e3) / r.power_w
    return {"sustained / burst": r.sustained_throughput / r.burst_throughput, "flat": int(bool(r.flat)), "counter / sampled power": watts}


PART3 = [
    Check("ten processes", 3, 160, processes, {
        "processes": None, "range / mean": most(0.015, "estimate"), "half width, share of the rate": None,
        "intervals that hold the rest": least(SMALLEST_SHARE, short=(0, 1)),
    }),
    Check("search and ladder", 3, 150, ladder, {
        "batch sizes in the ladder": None, "batch sizes in the search": None, "best of the ladder": None, "best of the search": None,
        "share lost by the search": most(0.01, short=(0, 1)), "seconds of the search": None,
    }),
    Check("end of the memory", 3, 50, memory_wall, {
        "ends with out of memory": yes(), "sizes that fit": least(1), "same process goes on": yes(),
        "first size after / before": ratio(0.99, 1.01), "allocator was short before": None,
    }, "cuda"),
    Check("out of memory", 3, 60, forced_oom, {
        "in a CUDA graph": yes(), "in inference": yes(), "in a language model": yes(), "in a compiled model": yes(),
    }, "cuda"),
    Check("broken model", 3, 25, broken_model, {"the broken model failed": yes(), "the next one has a result": yes()}, "real"),
    Check("numbers of devices", 3, 30, devices, {
        "exit code of cuda:0": none(), "with CUDA_VISIBLE_DEVICES=0": none(), "exit code of a missing device": exactly(2),
        "lines about it": exactly(1),
    }, "cuda"),
    Check("TF32 by the environment", 3, 40, tf32_override, {"with / without override": ratio(0.98, 1.02)}, "cuda"),
    Check("soak", 3, 100, soak, {
        "sustained / burst": least(0.95, "estimate", (0.01, 100)), "flat": None, "counter / sampled power": ratio(0.95, 1.05, "estimate"),
    }),
    Check("suite classic", 3, 150, suite("classic", 200), SUITE_BANDS),
]  # fmt: skip
