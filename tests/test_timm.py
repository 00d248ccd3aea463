"Every timm model has its configuration, and ten unlike ones do a real step."

import pytest
import torch

from ready_steady_go.device import set_precision
from ready_steady_go.families import resolve
from ready_steady_go.families import timm as family
from ready_steady_go.spec import Spec
from ready_steady_go.workload import TrainStep, trouble

# name: what it stands for, and the image size that its configuration names
TEN = {
    "resnet18": ("residual", 224),
    "vit_tiny_patch16_224": ("transformer", 224),
    "mobilenetv3_small_100": ("inverted residuals, hard swish", 224),
    "efficientnet_b0": ("depthwise, squeeze and excite", 224),
    "convnext_atto": ("convolutional with layer norm", 224),
    "mobilevit_xxs": ("hybrid of convolutions and attention", 256),
    "vit_tiny_patch16_384": ("a fixed size of 384", 384),
    "mixer_s16_224": ("only linear layers", 224),
    "densenet121": ("dense concatenations", 224),
    "test_resnet": ("tiny", 160),
}


def one_step(spec):
    "A step on the CPU, as the bench does it."
    set_precision(spec.precision)
    step = TrainStep(family.build(spec, "cpu"), spec.precision, spec.bs)
    step()
    return step


@pytest.mark.parametrize("name", TEN)
def test_ten_architectures_train(name):
    spec = resolve(Spec(model=name, bs=2))
    assert (spec.size, spec.classes) == (TEN[name][1], 1000)
    step = one_step(spec)
    assert step.inputs.shape == (2, 3, spec.size, spec.size)
    assert trouble(step) is None


def test_a_step_changes_every_weight_that_is_used():
    spec = resolve(Spec(model="test_resnet", bs=2))
    work = family.build(spec, "cpu")
    before = [p.detach().clone() for p in work.model.parameters()]
    step = TrainStep(work, "fp32", 2)
    for _ in range(3): step()
    assert all((p != b).any() for p, b in zip(work.model.parameters(), before, strict=True))


@pytest.mark.parametrize("name,features", [("vit_tiny_patch16_dinov3", None), ("samvit_base_patch16", None), ("test_vit4", 1000)])
def test_a_model_without_a_classifier_trains_on_its_features(name, features):
    if not family.has(name): pytest.skip(f"this timm has no {name}")
    spec = resolve(Spec(model=name, bs=1, size=None))
    if spec.size > 512: spec = resolve(Spec(model=name, bs=1, size=256))
    step = one_step(spec)
    assert features is None or spec.classes == features
    assert trouble(step) is None


def test_every_name_is_complete():
    specs = [resolve(Spec(model=name)) for name in family.names()]
    assert len(specs) > 1000
    assert all(s.family == "timm" and s.size and s.channels and s.classes is not None for s in specs)
    assert {s.size for s in specs} >= {160, 224, 256, 384, 512}


def test_the_batch_is_random_and_the_same_for_the_same_seed():
    def batch(seed):
        work = family.build(resolve(Spec(model="test_resnet", seed=seed)), "cpu")
        torch.manual_seed(seed)
        return work.draw(4)

    (x, y), (same, _), (other, _) = batch(0), batch(0), batch(1)
    assert torch.equal(x, same) and not torch.equal(x, other)
    assert abs(x.mean()) < 0.02 and abs(x.std() - 1) < 0.02 and y.dtype == torch.int64
