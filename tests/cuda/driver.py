"""Measure points in one process on the fake CUDA, and count what a step really does.

Reads a list of cases as JSON from stdin: `spec` (fields of a Spec), `point` (arguments of `Bench.point`, absent: only count),
`env` (FAKE_CUDA_* variables from here on) and `plant` (a mistake to plant). Prints one JSON object a case: `record`, and `step`,
the counters of one step after warm-up.
"""

import contextlib
import ctypes
import itertools
import json
import os
import sys
import time
from dataclasses import asdict, replace
from unittest import mock

import torch

from ready_steady_go.run.bench import Bench
from ready_steady_go.spec.spec import Spec
from ready_steady_go.timing.device import set_precision
from ready_steady_go.training.prepare import make_step, with_fused

COUNTERS = (
    "launches busy_ns stream_syncs device_syncs event_syncs event_queries blocking_copies small_uploads mallocs frees"
    " stalled_ns queue_full_ns graph_launches stubs"
).split()  # `struct counters` of fake.h
WARM_UP, N = 8, 4  # steps before, and steps that are counted


class Counters(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in COUNTERS]


def counted():
    "Return what the fake has counted so far."
    counters = Counters.in_dll(ctypes.CDLL(None), "fake_counters")
    return {name: getattr(counters, name) for name in COUNTERS}


def configure(env):
    "Change variables of the fake while it runs."
    os.environ.update({f"FAKE_CUDA_{name}": str(value) for name, value in env.items()})
    ctypes.CDLL(None).fake_configure()


def waiting_loss(loss):
    "A loss with a hidden wait: it reads its own value."
    def waits(*args):
        value = loss(*args)
        value.item()
        return value
    return waits


def growing():
    "A hook that needs a little more memory in each step, so that no cached block is large enough."
    sizes = itertools.count(400, 2)

    def hook(module, args, out):
        torch.empty(next(sizes) << 20, dtype=torch.uint8, device="cuda")

    return hook


def apart():
    "A hook that queues more work than a step has on a stream of its own, and never joins it."
    side, x = torch.cuda.Stream(), torch.zeros(8, device="cuda")

    def hook(module, args, out):
        with torch.cuda.stream(side):
            for _ in range(1000): x.add_(1)

    return hook


@contextlib.contextmanager
def planted(bench, mistake):
    "Plant a mistake into what the bench builds."
    build = bench._build

    def with_wait(spec):
        work = build(spec)
        if mistake == "loss": return replace(work, loss=waiting_loss(work.loss))
        if mistake == "memory": work.model.register_forward_hook(growing())
        if mistake == "stream": work.model.register_forward_hook(apart())
        if mistake == "model": work.model.register_forward_hook(lambda module, args, out: torch.cuda.synchronize())
        return work

    broken = contextlib.nullcontext()
    if mistake == "profiler": broken = mock.patch.object(torch.profiler, "profile", side_effect=RuntimeError("no CUPTI"))
    with mock.patch.object(bench, "_build", with_wait), broken: yield


def step_of(bench, spec, mistake):
    "A step as the bench makes it; with a mistake, if one is to be planted."
    step = make_step(bench._build(spec), spec)
    if mistake == "optimizer":  # GradScaler reads a flag on the host in each step if the optimizer is not fused
        step.optimizer = torch.optim.SGD(step.work.model.parameters(), lr=1e-5)
    return step


def per_step(bench, spec, mistake):
    "The counters of one step, after warm-up."
    set_precision(spec.precision)
    step = step_of(bench, spec, mistake)
    for _ in range(WARM_UP): step()
    torch.cuda.synchronize()
    before = counted()
    for _ in range(N): step()
    after = counted()  # the device may still be at work: what is counted is what was queued
    torch.cuda.synchronize()
    return {name: (after[name] - before[name]) / N for name in COUNTERS}


def answer(bench, case):
    "Measure and count one case."
    configure(case.get("env", {}))
    spec = with_fused(replace(bench.check(Spec(**case["spec"])), bs=case.get("bs", 8)), bench.device)
    with planted(bench, case.get("plant")):
        start = time.monotonic()
        record = asdict(bench.point(spec, **case["point"])) if "point" in case else None
        seconds = time.monotonic() - start
        step = per_step(bench, spec, case.get("plant")) if case.get("count", True) else None
    bench._clean_up()
    return dict(record=record, step=step, seconds=seconds, samples=spec.bs * spec.grad_accum)


def main():
    bench = Bench("cuda")
    sys.modules[Bench.__module__].box_ceiling = lambda *about, **how: (None, [])  # the matmul throughput of this device is invented
    for case in json.loads(sys.stdin.read()):
        print(json.dumps(answer(bench, case)), flush=True)


if __name__ == "__main__":
    main()
