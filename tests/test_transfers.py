"Nothing crosses between host and device inside the timed region."

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ready_steady_go.spec.spec import Spec
from ready_steady_go.timing.device import find_device, make_clock
from ready_steady_go.timing.measure import measure
from ready_steady_go.training.families import resolve
from ready_steady_go.training.families import timm as family
from ready_steady_go.training.workload import TrainStep


class Crossings(TorchDispatchMode):
    "Collects operations that read a value back to the host, or move or make a tensor on another device."

    def __init__(self, device):
        super().__init__()
        self.device, self.found, self.seen = device, [], 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.seen += 1
        outs = out if isinstance(out, (tuple, list)) else [out]
        if "_local_scalar_dense" in str(func) or any(isinstance(o, torch.Tensor) and o.device.type != self.device for o in outs):
            self.found.append(str(func))
        return out


def crossings(step, device="cpu"):
    "What crosses while a point is measured."
    with Crossings(device) as mode:
        measure(step, 2, make_clock(torch.device(device)), n_batches=3, warmup_limit_s=0.01)
    assert mode.seen > 100
    return mode.found


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet"])
def test_a_measured_point_crosses_nothing(name, precision):
    step = TrainStep(family.build(resolve(Spec(model=name)), "cpu"), precision, 2)
    step()  # what happens once, before the first window, may ask the host
    assert crossings(step) == []


def test_the_check_finds_a_crossing():
    step = TrainStep(family.build(resolve(Spec(model="test_resnet")), "cpu"), "fp32", 2)
    assert set(crossings(lambda: (step(), step.loss.item()))) == {"aten._local_scalar_dense.default"}
    assert set(crossings(lambda: (step(), step.inputs[:1].to("meta")))) == {"aten._to_copy.default"}


def test_the_scaler_without_the_fused_optimizer_would_cross():
    "Why FP16 has the fused SGD: any other makes the scaler read its verdict back on each step."
    step = TrainStep(family.build(resolve(Spec(model="test_resnet")), "cpu"), "fp16", 2)
    step.optimizer = torch.optim.SGD(step.work.model.parameters(), lr=1e-5)
    assert "aten._local_scalar_dense.default" in crossings(step)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU; the same is shown on the CPU above")
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_a_gpu_never_waits_inside_the_timed_region(precision):
    device = find_device("cuda")
    step = TrainStep(family.build(resolve(Spec(model="resnet18")), device), precision, 8)
    step()
    torch.cuda.set_sync_debug_mode("error")
    try: measure(step, 8, make_clock(device), n_batches=20)
    finally: torch.cuda.set_sync_debug_mode("default")
