"The options of a training step: each has its effect, makes another key, and is refused in one line where it cannot work."

import json
import shutil
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from torch import nn

from ready_steady_go.box.machine import Machine
from ready_steady_go.commands.cli import main, with_backend
from ready_steady_go.run import bench as bench_module
from ready_steady_go.run.resume import already_measured
from ready_steady_go.spec.errors import UserError
from ready_steady_go.spec.options import SpecFields, options_of, read_value
from ready_steady_go.spec.spec import Spec
from ready_steady_go.store.record import Record, comparison_key, from_line, make_record, to_line
from ready_steady_go.timing.measure import HostClock
from ready_steady_go.timing.passes import run_passes, time_parts
from ready_steady_go.training.compiling import compile_error, forget_compiled
from ready_steady_go.training.families import load_family, resolve
from ready_steady_go.training.prepare import Captured, check_options, make_step, prepare_workload
from ready_steady_go.training.workload import TrainStep, Workload, optimizer_for
from ready_steady_go.truth.flops import forward_flops

ROOT, CPU = Path(__file__).resolve().parent.parent, torch.device("cpu")
STEP_OPTIONS = dict(
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
    "Return a small workload with the optimizer and the clipping of the spec."
    model = model or nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 10))
    draw = lambda bs: (torch.randn(bs, 3, 8, 8, device=device), torch.randint(10, (bs,), device=device))
    return Workload(model.to(device), draw, nn.functional.cross_entropy, spec and optimizer_for(spec), spec and spec.clip)


class Toy:
    "A family that builds it."

    def __init__(self, model=None):
        self.model = model

    def build(self, spec, device):
        torch.manual_seed(spec.seed)
        return toy(spec, device, self.model)


def measured(monkeypatch, model=None, **more):
    "Return the record of a short point of the toy."
    monkeypatch.setattr(bench_module, "load_family", lambda name: Toy(model))
    monkeypatch.setattr(bench_module, "forward_flops", lambda spec, **more: None)
    monkeypatch.setattr(bench_module, "cpu_cores", lambda: 1)
    spec = Spec(**(dict(model="toy", family="timm", size=8, bs=4, optimizer="sgd") | more))
    return bench_module.Bench("cpu").point(spec, n_batches=4, warmup_limit_s=0.01)


def typed(*args):
    "Return the spec of a few options, as they are typed."
    rows = {row.name: row for row in options_of(SpecFields).values()}
    values = {rows[name].field: read_value(rows[name], text) for name, text in zip(args[::2], args[1::2], strict=True)}
    return Spec(model="timm:test_vit", bs=4, **values)


# Options as typed, and words of the error.
WRONG = {
    "a layout of another library": (("--layout", "nhcw"), "did you mean 'nchw'"),
    "a trace that trains": (("--torchscript", True), "--mode infer"),
    "traced and compiled": (("--torchscript", True, "--compile", "eager", "--mode", "infer"), "use one"),
    "accumulation without training": (("--mode", "infer", "--grad-accum", "4"), "--grad-accum has no effect with --mode infer"),
    "no batch to accumulate": (("--grad-accum", "0"), "at least 1"),
    "checkpointing without a backward pass": (("--mode", "forward", "--checkpointing", True), "--checkpointing has no effect"),
    "fused without training": (("--mode", "infer", "--fused", True), "--fused has no effect"),
    "clipping without training": (("--mode", "infer", "--clip", "1"), "--clip has no effect"),
    "no backend": (("--compile", ""), "expected a backend"),
    "a backend with a space": (("--compile", "inductor max-autotune"), "expected a backend"),
    "a backend with a typo": (("--compile", "inductr"), "did you mean 'inductor'"),
    "a mode as a backend": (("--compile", "max-autotune"), "use --compile inductor:max-autotune"),
    "a mode of a backend without modes": (("--compile", "aot_eager:default"), "only inductor has modes"),
    "no such mode": (("--compile", "inductor:max"), "inductor has no mode 'max'"),
    "an optimizer without a fused form": (("--fused", True, "--optimizer", "rmsprop"), "no fused rmsprop on cpu"),
    "a CUDA graph on a CPU": (("--cuda-graph", True), "it needs a GPU"),
    "a CUDA graph twice": (("--cuda-graph", True, "--compile", "inductor:reduce-overhead"), "already captures CUDA graphs"),
    "a CUDA graph with checkpointing": (("--cuda-graph", True, "--checkpointing", True), "use one"),
    "no channels": (("--channels", "0"), "--channels"),
    "classes that are no number": (("--classes", "ten"), "--classes"),
    "attention for images": (("--attention", "flash"), "--attention: timm models do not use it"),
    "negative channels": (("--channels", "-7"), "--channels"),
}


@pytest.mark.parametrize("args,words", WRONG.values(), ids=WRONG.keys())
def test_an_option_that_cannot_work_gives_an_error_of_one_line(args, words):
    with pytest.raises(UserError) as error:
        check_options(resolve(typed(*args)), CPU)
    assert words in str(error.value) and "\n" not in str(error.value)


TEXT = {
    "channels of tokens": (dict(model="lstm", channels=3), "--channels: lstm models do not use it"),
    "a layout of tokens": (dict(model="lstm", layout="channels_last"), "has no images"),
    "classes of the next token": (dict(model="lstm", classes=3), "--classes: lstm:lstm does not use it"),
    "checkpointing of recurrent layers": (dict(model="lstm", checkpointing=True), "cannot recompute"),
}


@pytest.mark.parametrize("options,words", TEXT.values(), ids=TEXT.keys())
def test_a_model_of_text_refuses_what_it_does_not_use(options, words):
    with pytest.raises(UserError, match=words):
        check_options(resolve(Spec(**options)), CPU)


def test_a_model_of_transformers_refuses_what_it_does_not_use():
    pytest.importorskip("transformers")
    for options in dict(channels=3), dict(layout="channels_last"), dict(task="lm", classes=3):
        with pytest.raises(UserError, match="remove it|--vocab"):
            check_options(resolve(Spec(model="hf:bert", layers=1, **options)), CPU)


def test_options_that_work_are_accepted():
    check_options(resolve(typed("--layout", "nhwc", "--checkpointing", True, "--compile", "aot_eager", "--fused", True)), CPU)
    check_options(resolve(typed("--mode", "infer", "--torchscript", True)), CPU)


def test_compile_alone_means_inductor():
    assert with_backend(["--compile", "--fp16"]) == ["--compile", "inductor", "--fp16"]
    assert with_backend(["--fp16", "--compile"]) == ["--fp16", "--compile", "inductor"]
    for args in ["--compile", "eager"], ["--compile=eager", "--fp16"], ["--fp16"]:
        assert with_backend(args) == args


def test_a_backend_keeps_its_case_and_a_layout_does_not():
    spec = typed("--compile", "inductor:Max", "--layout", "Channels-Last")
    assert (spec.compile, spec.layout) == ("inductor:Max", "channels_last")


@pytest.mark.parametrize("option,value", [("--optimizer", "adam"), ("--lr", "0.1")])
def test_an_optimizer_without_training_is_refused(option, value, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main(["--model", "timm:test_vit", "--bs", "4", "--mode", "infer", option, value])
    out, err = capsys.readouterr()
    assert (left.value.code, out, err.count("\n")) == (2, "", 1) and option in err and "--mode infer" in err


def test_the_heading_names_the_options_that_are_on():
    assert str(Spec(model="x")) == "x fp32"
    usual = Spec(model="x", precision="fp16", fused=True, optimizer="sgd", layout="channels_last", changed="")
    assert str(usual) == "x fp16, channels_last"
    assert str(replace(usual, optimizer="adamw", changed="optimizer")) == "x fp16, channels_last, adamw"
    heading = str(Spec(model="x", bs=8, compile="eager", fused=True, optimizer="adamw", clip=1.0, grad_accum=2, checkpointing=True))
    assert heading == "x fp32, adamw, fused, clip 1, grad-accum 2, checkpointing, compile eager at batch size 8"


# Keys


MACHINE = Machine(device="cpu", device_name="a CPU")


@pytest.mark.parametrize("name", [*STEP_OPTIONS, *INFER])
def test_each_option_makes_another_key_and_is_not_resumed_from(name):
    spec = Spec(model="x", bs=4, optimizer="sgd", mode="infer" if name in INFER else "train")
    changed = replace(spec, **{name: (STEP_OPTIONS | INFER)[name]})
    done = make_record(changed, MACHINE, outcome="oom", run_number=1)
    limits = dict(n_seconds=None, n_batches=None, run_number=1)
    assert comparison_key(done) != make_record(spec, MACHINE).key
    assert already_measured([done], spec, MACHINE, limits) == []
    assert already_measured([done], replace(changed, bs=None), MACHINE, limits) == [done]
    assert from_line(to_line(done)) == done


def test_fused_for_fp16_makes_no_other_key():
    keys = {make_record(Spec(model="x", precision="fp16", optimizer="sgd", fused=f), MACHINE).key for f in (None, True)}
    assert len(keys) == 1


def test_journals_without_these_fields_are_read_and_keep_their_keys():
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


def test_the_record_has_every_field_of_the_spec():
    assert {f.name for f in fields(Spec)} <= {f.name for f in fields(Record)}


# Effects


def test_checkpointing_keeps_less_and_channels_last_has_other_strides():
    spec = resolve(Spec(model="timm:test_vit", size=32, checkpointing=True, layout="channels_last", bs=2))
    assert load_family("timm").build(spec, "cpu").model.grad_checkpointing is False
    work = prepare_workload(load_family("timm").build(spec, "cpu"), spec)
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


def test_the_optimizer_of_an_own_model_is_not_recorded_as_another():
    work = replace(toy(), optimizer=lambda model, fused: torch.optim.Adam(model.parameters(), lr=0.5))
    own = Spec(model="mine", family="my_models", bs=4)
    assert type(make_step(work, own).optimizer) is torch.optim.Adam
    for more, words in (dict(optimizer="sgd"), "own Adam"), (dict(lr=0.1), "--lr 0.1"), (dict(fused=True), "not fused"):
        with pytest.raises(UserError, match=words):
            make_step(work, replace(own, **more))


def test_options_do_not_change_the_counted_flops():
    spec = resolve(Spec(model="timm:test_vit", size=32, bs=4))
    one = forward_flops(spec)
    changed = replace(spec, **{k: v for k, v in STEP_OPTIONS.items() if k not in ("channels", "classes")})
    assert forward_flops(changed) == one == forward_flops(replace(spec, mode="infer", torchscript=True))
    assert forward_flops(resolve(replace(spec, model="timm:test_vit", classes=7))) < one


def test_an_accumulated_step_counts_every_sample(monkeypatch):
    record = measured(monkeypatch, grad_accum=3)
    assert (record.outcome, record.bs, record.grad_accum, record.n_items) == ("ok", 4, 3, 4 * 4 * 3)
    assert record.throughput == pytest.approx(record.n_items / record.duration, rel=1e-4)


class Ticking:
    "A step with its own clock, on which its parts last 3, 6 and 1 ms."

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


def test_the_parts_of_an_accumulated_step_cover_all_its_batches():
    step = Ticking()
    parts = time_parts(step, step, 5)
    assert (parts.forward_ms, parts.backward_ms, parts.optimizer_ms) == pytest.approx((9, 18, 1))


# Compiled


def test_compile_time_is_recorded_separately(monkeypatch):
    record = measured(monkeypatch, compile="aot_eager")
    assert (record.outcome, record.graph_breaks, record.compile) == ("ok", 0, "aot_eager")
    assert record.compile_s > record.first_step_s  # the first step after it does not compile
    assert not [f for f in record.findings if f["code"] == "recompiled"]
    assert measured(monkeypatch).compile_s is None


class GraphBreak(nn.Sequential):
    "A model with Python between two compiled parts."

    def forward(self, x):
        out = super().forward(x)
        torch._dynamo.graph_break()
        return out * 1.0


def small_model(kind):
    return kind(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 10))


def test_graph_breaks_are_counted(monkeypatch):
    assert measured(monkeypatch, small_model(GraphBreak), compile="eager").graph_breaks == 1


class NeverSettled(nn.Sequential):
    "A model with another constant in each call: torch compiles it each time, until it gives up."

    calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x) * float(self.calls)


def test_compiling_while_steps_are_timed_is_a_finding(monkeypatch):
    record = measured(monkeypatch, small_model(NeverSettled), compile="eager")
    (text,) = [f["text"] for f in record.findings if f["code"] == "recompiled"]
    assert "on each of the first steps" in text
    monkeypatch.setattr(bench_module, "run_until_compiled", lambda step, wait, **more: (0.0, True))
    record = measured(monkeypatch, small_model(NeverSettled), compile="eager")
    (text,) = [f["text"] for f in record.findings if f["code"] == "recompiled"]
    assert "again while steps were timed" in text


def test_the_error_names_a_missing_compiler(monkeypatch):
    def broken(graph, inputs):
        raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found in torch._inductor.config.cpp.cxx: (None, 'g++')")

    torch._dynamo.register_backend(broken, name="broken_for_a_test")
    record = measured(monkeypatch, compile="broken_for_a_test")
    assert record.outcome == "failed:CompileFailed"
    assert "apt-get install g++" in record.error and "\n" not in record.error


COMPILER_ERRORS = {
    "Failed to find C compiler": "gcc",
    "Cannot find a working triton installation": "pip install triton",
    "fatal error: Python.h: No such file": "python3-dev",
    "boom": "aot_eager",
}


@pytest.mark.parametrize("error,remedy", COMPILER_ERRORS.items())
def test_other_errors_of_a_compiler(error, remedy):
    assert remedy in str(compile_error(RuntimeError(error), "inductor"))


def test_a_missing_compiler_is_found_before_a_model_is_built(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=r"apt-get install g\+\+"):
        check_options(resolve(typed("--compile", "inductor")), CPU)


@pytest.mark.skipif(not shutil.which("g++"), reason="inductor on a CPU needs g++")
def test_inductor_computes_the_same():
    def loss(**more):
        torch.manual_seed(0)
        step = make_step(toy(), Spec(model="toy", bs=2, **more))
        step()
        return step.loss

    assert loss(compile="inductor") == pytest.approx(float(loss()), rel=1e-4)


# Traced


def test_a_trace_is_a_valid_point(monkeypatch):
    record = measured(monkeypatch, mode="infer", torchscript=True, precision="bf16")
    assert (record.outcome, record.torchscript, record.forward_ms) == ("ok", True, None)


def test_a_model_that_cannot_be_traced_is_a_failed_point(monkeypatch):
    class Texts(nn.Sequential):
        def forward(self, x):
            return str(x)

    record = measured(monkeypatch, small_model(Texts), mode="infer", torchscript=True)
    assert record.outcome == "failed:TorchscriptFailed" and "remove --torchscript" in record.error


# Captured


class FakeCuda:
    "The parts of `torch.cuda` that a capture uses. It lists what it is asked to do."

    def __init__(self):
        self.calls = []

    def Stream(self): return self
    def current_stream(self): return self
    def wait_stream(self, other): self.calls.append("wait")
    def CUDAGraph(self): return self
    def replay(self): self.calls.append("replay")

    def stream(self, stream): return FakeContext(self, "side")
    def graph(self, graph): return FakeContext(self, "capture")


class FakeContext:
    def __init__(self, cuda, name): self.cuda, self.name = cuda, name
    def __enter__(self): self.cuda.calls.append(self.name)
    def __exit__(self, *error): self.cuda.calls.append(f"end of {self.name}")


def captured(precision, calls):
    work = toy()
    step = TrainStep(work, precision, 4)
    for name in ("forward", "backward", "apply"):
        inner = getattr(step, name)
        setattr(step, name, lambda *args, name=name, inner=inner: calls.append(name) or inner(*args))
    cuda = FakeCuda()
    return Captured(step, cuda), cuda


@pytest.mark.parametrize("precision,outside", [("fp32", []), ("bf16", []), ("fp16", ["apply"])])
def test_a_capture_holds_the_step_but_not_the_scalers_decision(precision, outside):
    calls = []
    step, cuda = captured(precision, calls)
    step()
    assert cuda.calls == ["wait", "side", "end of side", "wait", "capture", "end of capture", "replay"]
    assert calls[9:] == ["forward", "backward"] + (["apply"] if not outside else []) + outside  # after three warm-up steps
    del calls[:], cuda.calls[:]
    step()
    assert (cuda.calls, calls) == (["replay"], outside)


def test_a_captured_step_is_not_split_into_parts(monkeypatch):
    calls = []
    step, _ = captured("fp32", calls)
    step()
    from ready_steady_go.timing import passes as passes_module
    from ready_steady_go.timing.measure import Measurement

    monkeypatch.setattr(passes_module, "busy_share", lambda *args: 1.0)
    found, _ = run_passes(step, "train", CPU, Measurement(4, [(10, 0.1)] * 20))
    assert "forward_ms" not in found and found["busy"] == 1.0


def test_a_failed_capture_gives_an_error_of_one_line():
    step, cuda = captured("fp32", [])

    class RefusingContext(FakeContext):
        def __exit__(self, *error):
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nCompile with ...")

    cuda.graph = lambda graph: RefusingContext(cuda, "capture")
    with pytest.raises(RuntimeError, match="--cuda-graph: a step cannot be captured .*remove --cuda-graph") as error:
        step()
    assert "\n" not in str(error.value)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="a CUDA graph needs a GPU")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_captured_step_trains_as_the_step_does(precision, optimizer):
    def weights(**more):
        spec = Spec(model="toy", bs=4, precision=precision, optimizer=optimizer, lr=0.01, grad_accum=2, **more)
        torch.manual_seed(0)
        work = toy(spec, "cuda")
        step = make_step(work, spec)
        for _ in range(3 if more else 6):
            step()
        return torch.cat([p.detach().flatten() for p in work.model.parameters()])

    assert torch.allclose(weights(cuda_graph=True), weights(), rtol=1e-2, atol=1e-3)


def test_a_device_that_fails_while_an_option_is_tried_is_a_failed_point(monkeypatch):
    def fail(spec, device):
        raise RuntimeError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(bench_module, "with_fused", fail)
    record = bench_module.Bench("cpu").point(Spec(model="toy", family="timm", size=8, bs=4, optimizer="sgd"), n_batches=4)
    assert (record.outcome, record.throughput) == ("failed:RuntimeError", None)
    assert record.error == "RuntimeError: CUDA error: unspecified launch failure"
