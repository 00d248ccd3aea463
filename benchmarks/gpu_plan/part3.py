"Part 3: what the paper promises, the end of the memory, and heat."

import statistics

from .checks import NOT_HERE, Check, least, most, ratio, yes
from .faults import forced_oom, memory_wall
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
        with plan.session() as session: record = session.point(plan.size(256, 4), steady=not plan.short, **spec)
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
    model, last = plan.pick("vit_small_patch16_224", "test_vit"), plan.pick(512, 48)
    run = plan.rsg("--model", model, f"--{plan.half}", "--search-until", last, *plan.pick((), ("--budget", 30)))
    spec = dict(model=model, precision=plan.half)
    with plan.session() as session:
        sizes = [*range(16, last + 1, 16)]
        rate = lambda bs, seconds: session.point(bs, n_seconds=seconds, brief=True, **spec).throughput or 0
        short = {bs: rate(bs, plan.pick(0.7, 0.2)) for bs in sizes}
        top = sorted(sizes, key=short.get)[-3:]  # the maximum of noisy numbers is too high: measure the best again
        rates = {bs: rate(bs, plan.pick(2.0, 0.3)) for bs in {*top, run.best.bs}}
    return {
        "batch sizes in the ladder": len(sizes), "batch sizes in the search": len(run.points), "seconds of the search": run.seconds,
        "best of the ladder": max(rates, key=rates.get), "best of the search": run.best.bs,
        "share lost by the search": regret_of(rates, run.best.bs),
    }  # fmt: skip


def soak(plan):
    "Load the GPU for a minute."
    args = ("--model", plan.pick("resnet50", "test_vit"), f"--{plan.half}", "--bs", plan.size(256, 4), "--soak", plan.pick(60, 6))
    run = plan.rsg(*args, *plan.pick((), ("--n-seconds", 0.3)))
    (r,) = [r for r in run.records if r.soak]
    watts = NOT_HERE
    if r.energy_from == "counter" and r.power_w: watts = r.joules_per_step / (r.wall_ms / 1e3) / r.power_w
    return {"sustained / burst": r.sustained_throughput / r.burst_throughput, "flat": int(bool(r.flat)), "counter / sampled power": watts}


PART3 = [
    Check("ten processes", 3, 150, processes, {
        "processes": None, "range / mean": most(0.015, "estimate"), "half width, share of the rate": None,
        "intervals that hold the rest": least(SMALLEST_SHARE, short=(0, 1)),
    }),
    Check("search and ladder", 3, 105, ladder, {
        "batch sizes in the ladder": None, "batch sizes in the search": None, "best of the ladder": None, "best of the search": None,
        "share lost by the search": most(0.01, short=(0, 1)), "seconds of the search": None,
    }),
    Check("end of the memory", 3, 50, memory_wall, {
        "ends with out of memory": yes(), "sizes that fit": least(1), "same process goes on": yes(),
        "first size after / before": ratio(0.99, 1.01), "allocator was short before": None,
    }, "cuda"),
    Check("out of memory", 3, 50, forced_oom, {
        "in a CUDA graph": yes(), "in inference": yes(), "in a language model": yes(), "in a compiled model": yes(),
    }, "cuda"),
    Check("soak", 3, 75, soak, {
        "sustained / burst": least(0.95, "estimate", (0.01, 100)), "flat": None, "counter / sampled power": ratio(0.95, 1.05, "estimate"),
    }),
    Check("suite classic", 3, 110, suite("classic", 200), SUITE_BANDS),
]  # fmt: skip
