"The recurrent models: parameters and FLOPs by formula, words per second, and steps with every option."

from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ready_steady_go.box.machine import Machine
from ready_steady_go.spec.errors import UserError
from ready_steady_go.spec.spec import Spec
from ready_steady_go.store.record import make_record
from ready_steady_go.timing.measure import Measurement
from ready_steady_go.training.families import lstm as family
from ready_steady_go.training.families import resolve
from ready_steady_go.training.workload import STEP_CLASSES, TrainStep, nonfinite_finding
from ready_steady_go.truth.flops import forward_flops, named_forward_flops

SMALL = dict(layers=2, emb_dim=16, hid_dim=16, seq_len=10, vocab=60)


def built_parameters(spec, device="cpu"):
    "Return the number of parameters of the built model."
    return sum(p.numel() for p in family.build(spec, device).model.parameters())


def test_the_defaults_are_those_of_rnn_benchmark():
    spec = resolve(Spec(model="lstm"))
    sizes = spec.cell, spec.layers, spec.emb_dim, spec.hid_dim, spec.tied, spec.seq_len, spec.optimizer, spec.lr, spec.clip
    assert sizes == ("LSTM", 1, 1024, 1024, False, 128, "adam", 2e-4, None)
    assert (spec.family, spec.task, spec.model) == ("lstm", "lm", "lstm")


@pytest.mark.parametrize("more", [{}, dict(cell="GRU"), dict(cell="RNN", layers=3), dict(tied=True), dict(hid_dim=512)])
def test_parameters_and_flops_by_formula(more):
    spec = resolve(Spec(model="lstm", **more))
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[spec.cell]
    with torch.device("meta"):
        assert built_parameters(spec, "meta") == family.parameter_count(spec)
    sizes = f"nlayers={spec.layers} emb={spec.emb_dim} hid={spec.hid_dim} vocab={spec.vocab}"
    assert forward_flops(spec) == spec.seq_len * named_forward_flops(sizes, family=spec.cell)  # words = samples x tokens
    inputs = [spec.emb_dim, *[spec.hid_dim] * (spec.layers - 1)]
    word = 2 * (sum(gates * (i + spec.hid_dim) * spec.hid_dim for i in inputs) + spec.hid_dim * spec.vocab)
    assert forward_flops(spec) == spec.seq_len * word


def test_a_record_has_words_per_second():
    spec = replace(resolve(Spec(model="lstm")), bs=128)
    record = make_record(spec, Machine(device="cpu", device_name="Toy CPU 3000"), Measurement(bs=128, windows=[(2, 0.5)] * 12))
    assert record.tokens_per_s == pytest.approx(record.throughput * 128)
    assert (record.vocab, record.hid_dim, record.optimizer) == (33279, 1024, "adam")


@pytest.mark.parametrize("mode", STEP_CLASSES)
@pytest.mark.parametrize("model", family.names())
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_each_mode_and_precision_trains(model, mode, precision):
    sizes = SMALL if model == "lstm" else {k: v for k, v in SMALL.items() if k != "vocab"}
    spec = resolve(Spec(model=f"lstm:{model}", precision=precision, mode=mode, clip=0.1 if mode == "train" else None, **sizes))
    step = STEP_CLASSES[mode](family.build(spec, "cpu"), precision, 3)
    step()
    assert nonfinite_finding(step) is None


class CountReads(TorchDispatchMode):
    "A counter of values that are read back to the host."

    n = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.n += "_local_scalar_dense" in str(func)
        return func(*args, **(kwargs or {}))


def test_an_fp16_step_with_adam_and_clipping_reads_nothing_back_to_the_host():
    spec = resolve(Spec(model="lstm", precision="fp16", clip=0.1, **SMALL))
    step = TrainStep(family.build(spec, "cpu"), "fp16", 2)
    step()
    with CountReads() as seen:
        step()
    assert seen.n == 0
    with CountReads() as seen:
        step(), step.loss.item()
    assert seen.n == 1


def test_clipping_bounds_the_gradient():
    spec = resolve(Spec(model="lstm", clip=0.01, optimizer="sgd", lr=1.0, **SMALL))
    step = TrainStep(family.build(spec, "cpu"), "fp32", 2)
    before = [p.detach().clone() for p in step.work.model.parameters()]
    step()
    moved = torch.cat([(p - b).flatten() for p, b in zip(step.work.model.parameters(), before, strict=True)]).norm()
    assert 0.005 < moved <= 0.0101


WRONG = {
    "tied weights of two sizes": (dict(model="lstm", tied=True, emb_dim=8), "--tied"),
    "another task": (dict(model="lstm", task="classify"), "--task classify"),
    "a classifier's vocabulary": (dict(model="lstm:classifier", vocab=5), "--vocab"),
    "dropout of one layer": (dict(model="lstm", dropout=0.2), "--dropout: lstm:lstm drops between layers"),
    "dropout of a classifier": (dict(model="lstm:classifier", dropout=0.2), "--dropout: lstm:classifier drops between layers"),
    "dropout in inference": (dict(model="lstm", dropout=0.2, layers=2, mode="infer"), "--dropout has no effect with --mode infer"),
    "an image size": (dict(model="lstm", size=224), "--size"),
    "attention": (dict(model="lstm", attention="sdpa"), "--attention"),
    "an image model's cell": (dict(model="resnet18", cell="GRU"), "--cell"),
    "an image model's tokens": (dict(model="resnet18", seq_len=12), "--seq-len"),
    "fp16 without a fused optimizer": (dict(model="lstm", optimizer="rmsprop", precision="fp16"), "--optimizer rmsprop"),
    "no such model": (dict(model="lstm:lstn"), "did you mean 'lstm:lstm'"),
}


@pytest.mark.parametrize("options, words", WRONG.values(), ids=WRONG.keys())
def test_a_mistake_gives_an_error_of_one_line(options, words):
    with pytest.raises(UserError, match=words) as error:
        resolve(Spec(**options))
    assert "\n" not in str(error.value)


def test_unused_options_change_no_key():
    "Newer fields are None where a family does not use them, and None is not part of a key."
    spec = resolve(Spec(model="resnet18"))
    new = "task seq_len attention cell layers emb_dim hid_dim tied vocab dropout clip lr".split()
    assert [getattr(spec, name) for name in new] == [None] * len(new)
    assert spec.optimizer == "sgd"


def test_dropout_between_two_layers_drops():
    spec = resolve(Spec(model="lstm", dropout=0.9, **SMALL))
    work = family.build(spec, "cpu")
    inputs, _ = work.draw(2)
    assert not torch.equal(work.model(inputs), work.model(inputs)) and resolve(replace(spec, model="lstm:lstm")).dropout == 0.9
    assert resolve(replace(resolve(Spec(model="lstm")), model="lstm:lstm")).dropout == 0.5  # a completed spec was not typed
