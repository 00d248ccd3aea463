"Every timm model can be completed, and ten different ones train a step."

import pytest
import torch

from ready_steady_go.spec.spec import Spec
from ready_steady_go.timing.device import set_precision
from ready_steady_go.training.families import resolve
from ready_steady_go.training.families import timm as family
from ready_steady_go.training.workload import TrainStep, nonfinite_finding

# name: its kind, and the image size of its configuration
ARCHITECTURES = {
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
    "Return a step on the CPU after it has run once."
    set_precision(spec.precision)
    step = TrainStep(family.build(spec, "cpu"), spec.precision, spec.bs)
    step()
    return step


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_ten_architectures_train(name):
    spec = resolve(Spec(model=name, bs=2))
    assert (spec.size, spec.classes) == (ARCHITECTURES[name][1], 1000)
    step = one_step(spec)
    assert step.inputs.shape == (2, 3, spec.size, spec.size)
    assert nonfinite_finding(step) is None


def test_a_step_updates_as_the_originals_sgd():
    work = family.build(resolve(Spec(model="test_resnet", bs=2)), "cpu")
    step, weights = TrainStep(work, "fp32", 2), list(work.model.parameters())
    gradients = torch.autograd.grad(step.forward(), weights)
    before = [w.detach().clone() for w in weights]
    step()
    for w, b, g in zip(weights, before, gradients, strict=True):
        torch.testing.assert_close(w.detach(), b - 1e-5 * (g + 5e-5 * b), rtol=0, atol=1e-7)
    assert any((w != b).any() for w, b in zip(weights, before, strict=True))


# Outputs: features, tokens of features, a map of features. The last two models get a smaller size than their own.
HEADLESS = {"eva02_tiny_patch14_224": None, "qwen3_vit_88m_enc": 224, "samvit_base_patch16": 256}


@pytest.mark.parametrize("name", [name for name in HEADLESS if family.has(name)])  # an older timm does not have all of them
def test_a_model_without_a_classifier_trains_on_its_features(name):
    spec = resolve(Spec(model=name, bs=1, size=HEADLESS[name]))
    step = one_step(spec)
    assert spec.classes == 0 and step.inputs.shape[-1] == spec.size
    assert nonfinite_finding(step) is None


def test_every_name_can_be_completed():
    specs = [resolve(Spec(model=name)) for name in family.names()]
    assert len(specs) > 1000
    assert all(s.family == "timm" and s.size and s.channels and s.classes is not None for s in specs)
    assert {s.size for s in specs} >= {160, 224, 256, 384, 512}


def test_a_seed_decides_the_random_batch():
    def batch(seed):
        work = family.build(resolve(Spec(model="test_resnet", seed=seed)), "cpu")
        torch.manual_seed(seed)
        return work.draw(4)

    (x, y), (same, _), (other, _) = batch(0), batch(0), batch(1)
    assert torch.equal(x, same) and not torch.equal(x, other)
    assert abs(x.mean()) < 0.02 and abs(x.std() - 1) < 0.02 and y.dtype == torch.int64
