"FP16: the scaler skips a step whose gradients overflow. Such steps have no optimizer, so they are not timed, or the record names them."

import random
import sys
from dataclasses import replace

import pytest

from ready_steady_go.run.bench import Bench
from ready_steady_go.spec.spec import Spec
from ready_steady_go.timing.measure import Measurement, measure
from ready_steady_go.training.families import resolve
from ready_steady_go.training.workload import skipped_steps

MODULE = """
import time
import torch
from torch import nn
from ready_steady_go.training.workload import Workload

steps, overflowing = 0, set()

def loss(out, y):
    global steps
    steps += 1
    time.sleep(0.06)
    value = out.float().square().mean()
    if steps in overflowing: value.register_hook(lambda gradient: gradient * float("inf"))
    return value

def build(spec, device):
    return Workload(nn.Linear(8, 8).to(device), lambda bs: (torch.randn(bs, 8, device=device), torch.zeros(bs)), loss)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    "A user's module whose steps overflow where `overflowing` names them; it lasts 60 ms a step."
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "own_overflows.py").write_text(MODULE)
    spec = replace(resolve(Spec(model="own_overflows:tiny", precision="fp16")), bs=4)
    yield spec, sys.modules["own_overflows"]
    del sys.modules["own_overflows"]


def found(record):
    "Return the sentence of the finding on skipped steps, or None."
    return next((f["text"] for f in record.findings if f["code"] == "scale_unsettled"), None)


def test_the_first_steps_that_overflow_are_not_timed(own):
    spec, module = own
    module.overflowing |= {*range(1, 13)}
    begun = []
    progress = lambda phase, m: begun.append(module.steps - m.n_batches) if phase == "go" and not begun else None
    record = Bench("cpu").point(spec, n_batches=6, warmup_limit_s=0.1, progress=progress)
    assert record.outcome == "ok" and found(record) is None
    assert begun[0] >= 13 and record.warmup_s >= 13 * 0.06


def test_timed_steps_that_overflow_are_named(own):
    spec, module = own
    progress = lambda phase, m: module.overflowing.update(range(module.steps + 1, module.steps + 4)) if m and m.n_batches == 2 else None
    record = Bench("cpu").point(spec, n_batches=12, warmup_limit_s=0.1, progress=progress)
    assert record.outcome == "ok" and "up to 3 of the 12 timed FP16 steps overflowed" in found(record)


def test_a_throughput_of_skipped_steps_is_not_steady(own):
    spec, _ = own
    m = Measurement(4, [(10, 0.1)] * 60)
    good, bad = (Bench("cpu")._judge(spec, m, found, {}) for found in ([], [dict(code="scale_unsettled", text="")]))
    assert (good.steady, bad.steady) == (True, False)


def scaler_after(state, overflows, every):
    "Return scale and tracker after steps, by the rule of `torch._amp_update_scale_`."
    scale, tracker = state
    for overflow in overflows:
        tracker = 0 if overflow else tracker + 1
        scale = scale / 2 if overflow else scale * 2 if tracker == every else scale
        tracker %= every
    return scale, tracker


def test_the_count_of_skipped_steps_is_exact_or_larger():
    rng = random.Random(0)
    for _ in range(3000):
        every, share = rng.choice([3, 8, 50]), rng.choice([0, 0.02, 0.2, 1])
        overflows = [rng.random() < share for _ in range(rng.randrange(1, 100))]
        before = 2.0**16, rng.randrange(every)
        counted, true = skipped_steps(before, scaler_after(before, overflows, every), len(overflows), every), sum(overflows)
        assert counted >= true and (counted > 0) == (true > 0)
        assert counted == true or before[1] + len(overflows) >= every


def test_skipped_steps_at_the_ends_of_the_scale():
    assert skipped_steps(None, None, 5) == 0
    assert skipped_steps((2.0**127, 1999), (2.0**127, 0), 1) == 0  # the largest power of two in FP32
    assert skipped_steps((2.0**127, 5), (2.0**127, 5), 10**7) == 0
    assert skipped_steps((1.0, 0), (0.0, 0), 200) > 100


class Clock:
    "A clock that only a step moves."

    ahead, now = 0, 0.0

    def mark(self):
        return self.now

    def seconds(self, a, b):
        return b - a

    def work(self, seconds):
        self.now += seconds


@pytest.mark.parametrize("step_s", [0.001, 0.2, 3.0])
def test_a_scaler_that_never_settles_does_not_hold_up_the_point(step_s):
    clock = Clock()
    m = measure(lambda: clock.work(step_s), 8, clock, n_batches=2, warmup_limit_s=0.1, skipped=lambda n: True)
    assert m.n_batches == 2 and m.ready_s <= 3 * step_s + 0.4 + max(10 + step_s, 32 * step_s)
