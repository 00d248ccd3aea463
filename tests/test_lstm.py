"The recurrent models: parameters and FLOPs by formula, words per second, and steps with every option."

from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from ready_steady_go.box.machine import Machine
from ready_steady_go.run.bench import Bench
from ready_steady_go.spec.errors import UserError
from ready_steady_go.spec.spec import Spec
from ready_steady_go.store.record import make_record, settings_key
from ready_steady_go.timing.measure import Measurement
from ready_steady_go.training.families import lstm as family
from ready_steady_go.training.families import resolve
from ready_steady_go.training.prepare import check_options
from ready_steady_go.training.workload import STEP_CLASSES, TrainStep, nonfinite_finding
from ready_steady_go.truth.flops import forward_flops, model_flops, named_forward_flops, unneeded_flops

TOY = Machine(device="cpu", device_name="Toy CPU 3000")
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


class Published(torch.nn.Module):
    "The model of rnn_benchmark: its layers, its places of dropout, its state."

    def __init__(self, cell, layers, vocab, emb, hid, tied, dropout):
        super().__init__()
        self.proj = torch.nn.Sequential(torch.nn.Embedding(vocab, emb), torch.nn.Dropout(dropout))
        self.rnn = getattr(torch.nn, cell)(emb, hid, layers, dropout=dropout, batch_first=True)
        self.logit = torch.nn.Sequential(torch.nn.Dropout(dropout), torch.nn.Linear(hid, vocab))
        if tied: self.logit[1].weight = self.proj[0].weight
        self.states = None

    def forward(self, tokens):
        found, states = self.rnn(self.proj(tokens), self.states)
        self.states = tuple(s.detach() for s in states) if isinstance(states, tuple) else states.detach()
        return self.logit(found)


@pytest.mark.parametrize("more", [{}, dict(cell="GRU"), dict(cell="RNN", layers=1), dict(tied=True)], ids=str)
def test_the_language_model_is_the_published_one(more):
    spec = resolve(Spec(model="lstm", carry_state=True, **(SMALL | more)))
    ours, theirs = family.build(spec, "cpu").model, Published(spec.cell, spec.layers, 60, 16, 16, spec.tied, spec.dropout)
    pairs = (ours.embedding, theirs.proj[0]), (ours.cells, theirs.rnn), (ours.logits, theirs.logit[1])
    for mine, other in pairs:
        assert {n: p.shape for n, p in mine.named_parameters()} == {n: p.shape for n, p in other.named_parameters()}
        other.load_state_dict(mine.state_dict())
    tokens = torch.randint(60, (3, spec.seq_len))
    for _ in range(3):  # the third batch begins with the state of the second
        results = []
        for model in ours, theirs:
            torch.manual_seed(7)
            results.append(model(tokens))
        assert torch.equal(*results)
    results[0].sum().backward(), results[1].sum().backward()
    for mine, other in pairs:
        assert all(torch.equal(p.grad, q.grad) for p, q in zip(mine.parameters(), other.parameters(), strict=True))


def places_of_dropout(spec):
    "Return the shapes that pass a dropout that drops in one step of a model."
    step, seen = STEP_CLASSES[spec.mode](family.build(spec, "cpu"), "fp32", 3), []
    for module in step.work.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.register_forward_hook(lambda m, args, out: seen.append(tuple(out.shape)) if m.training and m.p else None)
    step()
    return seen


def test_a_single_layer_drops_after_the_embedding_and_before_the_logits():
    sizes = SMALL | dict(layers=1, emb_dim=8)
    assert places_of_dropout(resolve(Spec(model="lstm", **sizes))) == [(3, 10, 8), (3, 10, 16)]
    assert places_of_dropout(resolve(Spec(model="lstm", dropout=0.0, **sizes))) == []
    assert places_of_dropout(resolve(Spec(model="lstm", mode="infer", **sizes))) == []


def test_the_parameters_are_those_of_the_published_model():
    assert family.parameter_count(resolve(Spec(model="lstm"))) == 76_585_471


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("mode", STEP_CLASSES)
def test_a_state_is_carried_and_begins_anew_with_another_batch_size(mode, precision):
    spec = resolve(Spec(model="lstm", mode=mode, precision=precision, carry_state=True, **SMALL))
    work = family.build(spec, "cpu")
    for bs in 3, 3, 2:
        step = STEP_CLASSES[mode](work, precision, bs)
        step(), step()
        assert nonfinite_finding(step) is None and work.model.last[0].shape == (2, bs, 16)
        assert not work.model.last[0].requires_grad and work.model.last[0].abs().sum() > 0


def test_labels_and_keys_of_the_published_model():
    def record(**more): return make_record(replace(resolve(Spec(model="lstm", **more)), bs=4), TOY)

    new, carried, infer = record(), record(carry_state=True), record(mode="infer")
    old = replace(new, full_dropout=None)
    assert old.label == f"{new.label}, dropout between layers only" and carried.label == f"{new.label}, carried state"
    assert len({settings_key(r) for r in (new, old, carried)}) == 3
    assert infer.full_dropout is None and "between layers" not in infer.label  # nothing drops: the same as before


@pytest.mark.parametrize("options, words", [
    (dict(model="lstm:classifier", carry_state=True), "--carry-state: lstm:classifier does not use it"),
    (dict(model="resnet18", carry_state=True), "--carry-state: timm models do not use it"),
    (dict(model="lstm", carry_state=True, torchscript=True, mode="infer"), "--carry-state"),
    (dict(model="lstm", carry_state=True, cuda_graph=True), "--carry-state"),
])  # fmt: skip
def test_a_state_that_cannot_be_carried_is_refused(options, words):
    with pytest.raises(UserError, match=words): resolve(Spec(**options))


def test_adadelta_trains_and_cudnn_is_only_on_cuda():
    step = TrainStep(family.build(resolve(Spec(model="lstm", optimizer="adadelta", **SMALL)), "cpu"), "fp32", 2)
    step()
    assert isinstance(step.optimizer, torch.optim.Adadelta) and nonfinite_finding(step) is None
    with pytest.raises(UserError, match="--no-cudnn: only CUDA has cuDNN"):
        check_options(resolve(Spec(model="lstm", no_cudnn=True)), torch.device("cpu"))


def test_a_point_switches_cudnn_off_and_the_next_one_on_again(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "enabled", True)
    bench, seen = Bench("cpu"), []
    for no_cudnn in True, None:
        record = bench.point(replace(resolve(Spec(model="lstm", no_cudnn=no_cudnn, **SMALL)), bs=2), n_batches=2, brief=True)
        seen.append((torch.backends.cudnn.enabled, record.no_cudnn, "without cuDNN" in record.label))
    assert seen == [(False, True, True), (True, None, False)]


@pytest.mark.parametrize("cell", ["RNN", "GRU"])  # torch does not count those of a fused LSTM
def test_a_classifier_needs_no_gradient_of_its_features(cell):
    "The FLOPs of a step are those that torch counts in forward and backward, but for the gradient of the first state."
    spec = resolve(Spec(model="lstm:classifier", cell=cell, layers=1, emb_dim=64, hid_dim=16, seq_len=5))
    work = family.build(spec, "cpu")
    inputs, targets = work.draw(3)
    with FlopCounterMode(display=False) as counter: work.loss(work.model(inputs), targets).backward()
    found = model_flops(forward_flops(spec), "train", unneeded_flops(spec))
    assert found == pytest.approx(counter.get_total_flops() / 3, rel=0.02) and found < 0.8 * 3 * forward_flops(spec)
    record = Bench("cpu").point(replace(spec, bs=3), n_batches=3, brief=True)
    assert record.model_tflops == pytest.approx(record.throughput * found / 1e12)
