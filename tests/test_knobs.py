"The knobs of a training step: each does what it says, is told apart, and is refused in one line where it cannot work."

import json
import shutil
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from torch import nn

from ready_steady_go.box.machine import Machine
from ready_steady_go.commands.cli import with_backend
from ready_steady_go.run import bench as room
from ready_steady_go.run.campaign import remembered
from ready_steady_go.run.request import parse_knobs, understand
from ready_steady_go.spec.errors import UserError
from ready_steady_go.spec.options import PRECISIONS
from ready_steady_go.spec.spec import Spec
from ready_steady_go.store.record import Record, comparison_key, from_line, make_record, to_line
from ready_steady_go.timing.measure import HostClock
from ready_steady_go.timing.passes import run_passes, time_parts
from ready_steady_go.training.compiling import compile_failed, forget_compiled
from ready_steady_go.training.families import load_family, resolve
from ready_steady_go.training.prepare import Captured, check_knobs, make_step, prepared
from ready_steady_go.training.workload import TrainStep, Workload, optimizer_for
from ready_steady_go.truth.findings import finding
from ready_steady_go.truth.flops import forward_flops

ROOT, CPU = Path(__file__).resolve().parent.parent, torch.device("cpu")
KNOBS = dict(
    layout="channels_last", fused=True, compile="eager", grad_accum=2, checkpointing=True, clip=1.0, channels=1, classes=7,
    optimizer="adamw", lr=0.5,
)  # fmt: skip
INFER = dict(torchscript=True)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    forget_compiled()


def toy(spec=None, device="cpu", model=None):
    "A workload that is built in no time, with what the spec says of its optimizer."
    model = model or nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 10))
    draw = lambda bs: (torch.randn(bs, 3, 8, 8, device=device), torch.randint(10, (bs,), device=device))
    return Workload(model.to(device), draw, nn.functional.cross_entropy, spec and optimizer_for(spec), spec and spec.clip)


class Toy:
    "The family of it."

    def __init__(self, model=None):
        self.model = model

    def build(self, spec, device):
        torch.manual_seed(spec.seed)
        return toy(spec, device, self.model)


def measured(monkeypatch, model=None, **more):
    "The record of a short point of the toy."
    monkeypatch.setattr(room, "load_family", lambda name: Toy(model))
    monkeypatch.setattr(room, "forward_flops", lambda spec, **more: None)
    monkeypatch.setattr(room, "cpu_cores", lambda: 1)
    spec = Spec(**(dict(model="toy", family="timm", size=8, bs=4, optimizer="sgd") | more))
    return room.Bench("cpu").point(spec, n_batches=4, warmup_limit_s=0.01)


def spelled(*args):
    "What the spec of a command line says."
    options = dict(zip((a.removeprefix("--").replace("-", "_") for a in args[::2]), args[1::2]))
    nothing = dict.fromkeys(("size", "n_seconds", "n_batches", "device", "budget")) | dict(run_number="1", seed="0", out="x.jsonl")
    mode = options.pop("mode", "train")
    return understand(["timm:test_vit"], "4", dict.fromkeys(PRECISIONS, False), **nothing, mode=mode, knobs=options).specs[0]


# What a tired person types, and a word of the answer.
WRONG = {
    "a layout of another library": (("--layout", "nhcw"), "did you mean 'nchw'"),
    "a trace that learns": (("--torchscript", True), "--mode infer"),
    "traced and compiled": (("--torchscript", True, "--compile", "eager", "--mode", "infer"), "leave one out"),
    "accumulating nothing": (("--mode", "infer", "--grad-accum", "4"), "--grad-accum: it says nothing to --mode infer"),
    "no batches": (("--grad-accum", "0"), "at least 1"),
    "saving what is not kept": (("--mode", "forward", "--checkpointing", True), "--checkpointing: it says nothing"),
    "an optimizer at rest": (("--mode", "infer", "--optimizer", "adam"), "--optimizer: it says nothing to --mode infer"),
    "a rate at rest": (("--mode", "infer", "--lr", "0.1"), "--lr: it says nothing"),
    "fused at rest": (("--mode", "infer", "--fused", True), "--fused: it says nothing"),
    "clipped at rest": (("--mode", "infer", "--clip", "1"), "--clip: it says nothing"),
    "no backend": (("--compile", ""), "it takes a backend"),
    "a backend with a space": (("--compile", "inductor max-autotune"), "it takes a backend"),
    "a backend with a typo": (("--compile", "inductr"), "did you mean 'inductor'"),
    "a mode as a backend": (("--compile", "max-autotune"), "write inductor:max-autotune"),
    "a mode of none": (("--compile", "aot_eager:default"), "only inductor has modes"),
    "no such mode": (("--compile", "inductor:max"), "inductor has no mode 'max'"),
    "fused without a form": (("--fused", True, "--optimizer", "rmsprop"), "no fused rmsprop on cpu"),
    "a graph of a CPU": (("--cuda-graph", True), "it takes a GPU"),
    "a graph of graphs": (("--cuda-graph", True, "--compile", "inductor:reduce-overhead"), "by itself"),
    "a graph that recomputes": (("--cuda-graph", True, "--checkpointing", True), "leave one out"),
    "no channels": (("--channels", "0"), "--channels"),
    "classes of a word": (("--classes", "ten"), "--classes"),
    "attention of images": (("--attention", "flash"), "--attention: it says nothing to timm"),
    "the seventh channel": (("--channels", "-7"), "--channels"),
}


@pytest.mark.parametrize("args,words", WRONG.values(), ids=WRONG.keys())
def test_what_cannot_work_is_refused_in_one_line(args, words):
    with pytest.raises(UserError) as refusal:
        check_knobs(resolve(spelled(*args)), CPU)
    assert words in str(refusal.value) and "\n" not in str(refusal.value)


TEXT = {
    "words have no channels": (dict(model="lstm", channels=3), "--channels: it says nothing"),
    "words have no layout": (dict(model="lstm", layout="channels_last"), "sees none"),
    "the next token has no classes": (dict(model="lstm", classes=3), "--classes: it says nothing"),
    "recurrent layers keep everything": (dict(model="lstm", checkpointing=True), "no way to compute"),
}


@pytest.mark.parametrize("asked,words", TEXT.values(), ids=TEXT.keys())
def test_what_says_nothing_to_a_model_of_text(asked, words):
    with pytest.raises(UserError, match=words):
        check_knobs(resolve(Spec(**asked)), CPU)


def test_a_model_of_words_by_transformers_refuses_what_is_of_images():
    pytest.importorskip("transformers")
    for asked in dict(channels=3), dict(layout="channels_last"), dict(task="lm", classes=3):
        with pytest.raises(UserError, match="leave it out|--vocab"):
            check_knobs(resolve(Spec(model="hf:bert", layers=1, **asked)), CPU)


def test_what_can_work_is_let_through():
    check_knobs(resolve(spelled("--layout", "nhwc", "--checkpointing", True, "--compile", "aot_eager", "--fused", True)), CPU)
    check_knobs(resolve(spelled("--mode", "infer", "--torchscript", True)), CPU)


def test_compile_alone_means_inductor():
    assert with_backend(["--compile", "--fp16"]) == ["--compile", "inductor", "--fp16"]
    assert with_backend(["--fp16", "--compile"]) == ["--fp16", "--compile", "inductor"]
    for typed in ["--compile", "eager"], ["--compile=eager", "--fp16"], ["--fp16"]:
        assert with_backend(typed) == typed
    assert parse_knobs(dict(compile="inductor:Max", layout="Channels-Last")) == dict(compile="inductor:Max", layout="channels_last")


def test_the_heading_says_which_knobs_are_on():
    assert str(Spec(model="x")) == "x fp32"
    assert str(Spec(model="x", precision="fp16", fused=True, optimizer="sgd", layout="channels_last")) == "x fp16 channels_last"
    said = str(Spec(model="x", bs=8, compile="eager", fused=True, optimizer="adamw", clip=1.0, grad_accum=2, checkpointing=True))
    assert said == "x fp32 fused adamw clip 1 grad-accum 2 checkpointing compile eager at batch size 8"


# Told apart


MACHINE = Machine(device="cpu", device_name="a CPU")


@pytest.mark.parametrize("knob", [*KNOBS, *INFER])
def test_a_knob_makes_another_key_and_is_not_resumed_from(knob):
    spec = Spec(model="x", bs=4, optimizer="sgd", mode="infer" if knob in INFER else "train")
    turned = replace(spec, **{knob: (KNOBS | INFER)[knob]})
    done = make_record(turned, MACHINE, outcome="oom", run_number=1)
    limits = dict(n_seconds=None, n_batches=None, run_number=1)
    assert comparison_key(done) != make_record(spec, MACHINE).key
    assert remembered([done], spec, MACHINE, limits) == []
    assert remembered([done], replace(turned, bs=None), MACHINE, limits) == [done]
    assert from_line(to_line(done)) == done


def test_fused_because_of_fp16_is_not_another_key():
    keys = {make_record(Spec(model="x", precision="fp16", optimizer="sgd", fused=f), MACHINE).key for f in (None, True)}
    assert len(keys) == 1


def test_journals_from_before_the_knobs_are_read_and_keep_their_keys():
    new = ("fused", "torchscript", "cuda_graph", "graph_breaks")
    lines = [line for file in (ROOT / "benchmarks/results").glob("*.jsonl") for line in file.read_text().splitlines()]
    old = [json.loads(line) for line in lines if "schema" in line[:12]]
    old = [row for row in old if not any(name in row for name in new)]
    if not old:
        record = json.loads(to_line(make_record(Spec(model="x", bs=4, optimizer="sgd"), MACHINE)))
        old = [{name: value for name, value in record.items() if name not in new}]
    for row in old[:50]:
        record = from_line(json.dumps(row))
        assert (record.fused, record.torchscript, record.cuda_graph, record.graph_breaks) == (None, False, False, None)
        assert comparison_key(record) == row["key"]


def test_the_record_holds_every_knob():
    assert {f.name for f in fields(Spec)} <= {f.name for f in fields(Record)}


# Doing what it says


def test_checkpointing_keeps_less_and_channels_last_has_other_strides():
    spec = resolve(Spec(model="timm:test_vit", size=32, checkpointing=True, layout="channels_last", bs=2))
    assert load_family("timm").build(spec, "cpu").model.grad_checkpointing is False
    work = prepared(load_family("timm").build(spec, "cpu"), spec)
    step = make_step(work, spec)
    step()
    assert work.model.grad_checkpointing is True
    assert step.inputs.stride() == (3 * 32 * 32, 1, 3 * 32, 3)
    weight = work.model.patch_embed.proj.weight
    assert weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()


def test_channels_classes_and_optimizer_reach_the_model():
    spec = resolve(Spec(model="timm:test_vit", size=32, channels=1, classes=7, optimizer="adamw", lr=0.25, clip=1.0, fused=True, bs=2))
    step = make_step(load_family("timm").build(spec, "cpu"), spec)
    step()
    assert step.inputs.shape == (2, 1, 32, 32) and step.work.model.num_classes == 7 and int(step.targets.max()) < 7
    (group,) = step.optimizer.param_groups
    assert (type(step.optimizer), group["lr"], group["fused"], step.work.clip) == (torch.optim.AdamW, 0.25, True, 1.0)


def test_what_an_own_model_brings_is_not_called_by_another_name():
    work = replace(toy(), optimizer=lambda model, fused: torch.optim.Adam(model.parameters(), lr=0.5))
    own = Spec(model="mine", family="my_models", bs=4)
    assert type(make_step(work, own).optimizer) is torch.optim.Adam
    for more, words in (dict(optimizer="sgd"), "own Adam"), (dict(lr=0.1), "--lr 0.1"), (dict(fused=True), "not fused"):
        with pytest.raises(UserError, match=words):
            make_step(work, replace(own, **more))


def test_knobs_do_not_change_the_arithmetic_that_is_counted():
    spec = resolve(Spec(model="timm:test_vit", size=32, bs=4))
    one = forward_flops(spec)
    turned = replace(spec, **{k: v for k, v in KNOBS.items() if k not in ("channels", "classes")})
    assert forward_flops(turned) == one == forward_flops(replace(spec, mode="infer", torchscript=True))
    assert forward_flops(resolve(replace(spec, model="timm:test_vit", classes=7))) < one


def test_a_step_of_accumulation_counts_every_sample(monkeypatch):
    record = measured(monkeypatch, grad_accum=3)
    assert (record.outcome, record.bs, record.grad_accum, record.n_items) == ("ok", 4, 3, 4 * 4 * 3)
    assert record.throughput == pytest.approx(record.n_items / record.duration, rel=1e-4)


class Ticking:
    "A step whose parts last 3, 6 and 1 ms on a clock that it moves itself."

    whole, grad_accum = False, 3

    def __init__(self):
        self.now = 0.0

    def mark(self):
        return self.now

    seconds, ahead = HostClock.seconds, 0

    def forward(self):
        self.now += 0.003

    def backward(self, loss):
        self.now += 0.006

    def update(self, loss):
        self.now += 0.001


def test_the_parts_of_an_accumulated_step_are_those_of_the_whole_cycle():
    step = Ticking()
    parts = time_parts(step, step, 5)
    assert (parts.forward_ms, parts.backward_ms, parts.optimizer_ms) == pytest.approx((9, 18, 1))


# Compiled


def test_compiling_is_recorded_apart(monkeypatch):
    record = measured(monkeypatch, compile="aot_eager")
    assert (record.outcome, record.graph_breaks, record.compile) == ("ok", 0, "aot_eager")
    assert record.compile_s > record.first_step_s  # what the first step after it takes is a step, and no compiler
    assert not [f for f in record.findings if f["code"] == "recompiled"]
    assert measured(monkeypatch).compile_s is None


class Breaking(nn.Sequential):
    "Python between two pieces of graph."

    def forward(self, x):
        out = super().forward(x)
        torch._dynamo.graph_break()
        return out * 1.0


def plain(kind):
    return kind(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 10))


def test_graph_breaks_are_counted(monkeypatch):
    assert measured(monkeypatch, plain(Breaking), compile="eager").graph_breaks == 1


class Restless(nn.Sequential):
    "Another constant on each call: compiled again each time, until torch gives up."

    calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x) * float(self.calls)


def test_compiling_in_the_timed_part_is_told(monkeypatch):
    record = measured(monkeypatch, plain(Restless), compile="eager")
    assert [f["text"] for f in record.findings if f["code"] == "recompiled"] == [finding(**room.NEVER_SETTLED)["text"]]
    monkeypatch.setattr(room, "settle", lambda step, wait: (0.0, True))
    record = measured(monkeypatch, plain(Restless), compile="eager")
    assert [f["text"] for f in record.findings if f["code"] == "recompiled"] == [finding(**room.COMPILED_WHILE_TIMED)["text"]]


def test_a_compiler_that_is_missing_is_named(monkeypatch):
    def broken(graph, inputs):
        raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found in torch._inductor.config.cpp.cxx: (None, 'g++')")

    torch._dynamo.register_backend(broken, name="broken_for_a_test")
    record = measured(monkeypatch, compile="broken_for_a_test")
    assert record.outcome == "failed:CompileFailed"
    assert "apt-get install g++" in record.error and "\n" not in record.error


LAST_WORDS = {
    "Failed to find C compiler": "gcc",
    "Cannot find a working triton installation": "pip install triton",
    "fatal error: Python.h: No such file": "python3-dev",
    "boom": "aot_eager",
}


@pytest.mark.parametrize("said,remedy", LAST_WORDS.items())
def test_other_failures_of_a_compiler(said, remedy):
    assert remedy in str(compile_failed(RuntimeError(said), "inductor"))


def test_a_machine_without_a_compiler_is_told_before_anything_is_built(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=r"apt-get install g\+\+"):
        check_knobs(resolve(spelled("--compile", "inductor")), CPU)


@pytest.mark.skipif(not shutil.which("g++"), reason="inductor on a CPU needs g++")
def test_inductor_computes_the_same():
    def loss(**more):
        torch.manual_seed(0)
        step = make_step(toy(), Spec(model="toy", bs=2, **more))
        step()
        return step.loss

    assert loss(compile="inductor") == pytest.approx(float(loss()), rel=1e-4)


# Traced


def test_a_trace_gives_what_the_model_gives(monkeypatch):
    record = measured(monkeypatch, mode="infer", torchscript=True, precision="bf16")
    assert (record.outcome, record.torchscript, record.forward_ms) == ("ok", True, None)


def test_a_model_that_cannot_be_traced_is_a_failed_point(monkeypatch):
    class Texts(nn.Sequential):
        def forward(self, x):
            return str(x)

    record = measured(monkeypatch, plain(Texts), mode="infer", torchscript=True)
    assert record.outcome == "failed:TorchscriptFailed" and "leave it out" in record.error


# Captured


class Paper:
    "What of `torch.cuda` a capture uses; a replay does again what was done while it captured."

    def __init__(self):
        self.said, self.replayed = [], None

    def Stream(self): return self
    def current_stream(self): return self
    def wait_stream(self, other): self.said.append("wait")
    def CUDAGraph(self): return self
    def replay(self): self.said.append("replay")

    def stream(self, stream): return Noting(self, "side")
    def graph(self, graph): return Noting(self, "capture")


class Noting:
    def __init__(self, cuda, name): self.cuda, self.name = cuda, name
    def __enter__(self): self.cuda.said.append(self.name)
    def __exit__(self, *error): self.cuda.said.append(f"end of {self.name}")


def captured(precision, calls):
    work = toy()
    step = TrainStep(work, precision, 4)
    for name in ("forward", "backward", "apply"):
        inner = getattr(step, name)
        setattr(step, name, lambda *args, name=name, inner=inner: calls.append(name) or inner(*args))
    cuda = Paper()
    return Captured(step, cuda), cuda


@pytest.mark.parametrize("precision,outside", [("fp32", []), ("bf16", []), ("fp16", ["apply"])])
def test_a_capture_holds_the_step_and_leaves_the_scalers_verdict_outside(precision, outside):
    calls = []
    step, cuda = captured(precision, calls)
    step()
    assert cuda.said == ["wait", "side", "end of side", "wait", "capture", "end of capture", "replay"]
    assert calls[9:] == ["forward", "backward"] + (["apply"] if not outside else []) + outside  # after three to warm up
    del calls[:], cuda.said[:]
    step()
    assert (cuda.said, calls) == (["replay"], outside)


def test_a_capture_has_no_parts(monkeypatch):
    calls = []
    step, _ = captured("fp32", calls)
    step()
    from ready_steady_go.timing import passes as page
    from ready_steady_go.timing.measure import Measurement

    monkeypatch.setattr(page, "busy_share", lambda *args: 1.0)
    found, _ = run_passes(step, "train", CPU, Measurement(4, [(10, 0.1)] * 20))
    assert "forward_ms" not in found and found["busy"] == 1.0


def test_what_cannot_be_captured_is_one_line():
    step, cuda = captured("fp32", [])

    class Refusing(Noting):
        def __exit__(self, *error):
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nCompile with ...")

    cuda.graph = lambda graph: Refusing(cuda, "capture")
    with pytest.raises(RuntimeError, match="--cuda-graph: a step cannot be captured .*leave it out") as error:
        step()
    assert "\n" not in str(error.value)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="a CUDA graph needs a GPU")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_graph_trains_as_the_step_does(precision, optimizer):
    def weights(**more):
        spec = Spec(model="toy", bs=4, precision=precision, optimizer=optimizer, lr=0.01, grad_accum=2, **more)
        torch.manual_seed(0)
        work = toy(spec, "cuda")
        step = make_step(work, spec)
        for _ in range(3 if more else 6):
            step()
        return torch.cat([p.detach().flatten() for p in work.model.parameters()])

    assert torch.allclose(weights(cuda_graph=True), weights(), rtol=1e-2, atol=1e-3)
