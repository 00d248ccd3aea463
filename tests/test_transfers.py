"No data moves between host and device in the timed region."

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ready_steady_go.spec.spec import Spec
from ready_steady_go.timing.device import find_device, make_clock
from ready_steady_go.timing.measure import measure
from ready_steady_go.training.families import resolve
from ready_steady_go.training.families import timm as family
from ready_steady_go.training.workload import TrainStep


class Transfers(TorchDispatchMode):
    "A list of the operations that read a value back to the host or make a tensor on another device."

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


def transfers(step, device="cpu"):
    "Return the transfers while a point is measured."
    with Transfers(device) as mode:
        measure(step, 2, make_clock(torch.device(device)), n_batches=3, warmup_limit_s=0.01)
    assert mode.seen > 100
    return mode.found


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet"])
def test_a_measured_point_has_no_transfers(name, precision):
    step = TrainStep(family.build(resolve(Spec(model=name)), "cpu"), precision, 2)
    step()  # the first step may read from the host: it is not timed
    assert transfers(step) == []


def test_the_check_finds_a_transfer():
    step = TrainStep(family.build(resolve(Spec(model="test_resnet")), "cpu"), "fp32", 2)
    assert set(transfers(lambda: (step(), step.loss.item()))) == {"aten._local_scalar_dense.default"}
    assert set(transfers(lambda: (step(), step.inputs[:1].to("meta")))) == {"aten._to_copy.default"}


def test_the_scaler_with_an_optimizer_that_is_not_fused_reads_back():
    "FP16 uses a fused optimizer: any other makes the scaler read a value back in each step."
    step = TrainStep(family.build(resolve(Spec(model="test_resnet")), "cpu"), "fp16", 2)
    step.optimizer = torch.optim.SGD(step.work.model.parameters(), lr=1e-5)
    assert "aten._local_scalar_dense.default" in transfers(step)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU; the same is shown on the CPU above")
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_a_gpu_never_waits_inside_the_timed_region(precision):
    device = find_device("cuda")
    step = TrainStep(family.build(resolve(Spec(model="resnet18")), device), precision, 8)
    step()
    torch.cuda.set_sync_debug_mode("error")
    try: measure(step, 8, make_clock(device), n_batches=20)
    finally: torch.cuda.set_sync_debug_mode("default")
