"Inference with weights in half precision: what is cast, what is recorded, and where it is refused."

from collections import Counter
from dataclasses import replace

import pytest
import torch
from test_door import rsg
from torch.utils._python_dispatch import TorchDispatchMode

from ready_steady_go.run.bench import Bench
from ready_steady_go.spec.spec import Spec
from ready_steady_go.store.record import Record, from_line, seal, settings_key, to_line
from ready_steady_go.training.families import load_family, resolve
from ready_steady_go.training.prepare import make_step, prepare_workload
from ready_steady_go.truth.flops import forward_flops

DTYPES = dict(fp16=torch.float16, bf16=torch.bfloat16)
IMAGES, TOKENS = dict(model="timm:test_vit", size=32), dict(model="hf:bert-base", layers=1, seq_len=8)
WORDS = dict(model="lstm", vocab=50, emb_dim=8, hid_dim=8, seq_len=4)
FEATURES = dict(model="lstm:classifier", emb_dim=8, hid_dim=8, seq_len=4)
MODELS = {"images": IMAGES, "tokens": TOKENS, "words": WORDS, "features": FEATURES}


class Casts(TorchDispatchMode):
    "The number of operations that change the type of a tensor, and the types of all operands."

    def __init__(self):
        super().__init__()
        self.n, self.types = 0, Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out, tensors = func(*args, **(kwargs or {})), [a for a in args if isinstance(a, torch.Tensor) and a.is_floating_point()]
        self.types.update(t.dtype for t in tensors)
        self.n += isinstance(out, torch.Tensor) and any(t.dtype != out.dtype and t.shape == out.shape for t in tensors)
        return out


def step_of(precision, **options):
    "Return a step of inference, after its first call."
    spec = resolve(Spec(mode="infer", precision=precision, **options))
    step = make_step(prepare_workload(load_family(spec.family).build(spec, torch.device("cpu")), spec), replace(spec, bs=2))
    step()
    return step


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("model", MODELS)
def test_weights_and_inputs_are_cast_once(model, precision):
    step = step_of(precision, half_weights=True, **MODELS[model])
    with Casts() as seen: step()
    assert seen.n == 0 and set(seen.types) == {DTYPES[precision]}
    assert {p.dtype for p in step.work.model.parameters()} == {step.loss.dtype} == {DTYPES[precision]}
    assert step.inputs.dtype == (DTYPES[precision] if step.inputs.is_floating_point() else torch.int64)
    assert bool(torch.isfinite(step.loss).all())


def test_autocast_casts_in_each_step():
    "The control: with FP32 weights the same model casts each of its weights."
    step = step_of("bf16", **IMAGES)
    with Casts() as seen: step()
    assert seen.n > 20 and {p.dtype for p in step.work.model.parameters()} == {torch.float32}


def test_outputs_agree_with_those_of_fp32():
    half, full = (step_of(precision, **IMAGES, **more) for precision, more in (("bf16", dict(half_weights=True)), ("fp32", {})))
    assert torch.allclose(half.loss.float(), full.loss, atol=0.05 * float(full.loss.abs().max()))


@pytest.mark.parametrize("more", [{}, dict(torchscript=True), dict(layout="channels_last")])
def test_a_point_records_it_and_the_next_one_is_built_anew(more):
    bench, records = Bench("cpu"), []
    for half in True, None:
        spec = bench.check(Spec(mode="infer", precision="bf16", half_weights=half, **IMAGES, **more))
        records.append(bench.point(replace(spec, bs=2), n_batches=2))
    half, cast = records
    assert half.ok and cast.ok, (half.error, cast.error)
    assert (half.half_weights, half.autocast, cast.half_weights, cast.autocast) == (True, None, None, "bfloat16")
    assert "half weights" in half.label and "half weights" not in cast.label and settings_key(half) != settings_key(cast)
    assert half.model_tflops and half.precision == cast.precision == "bf16"


def test_the_operations_are_the_same():
    spec = resolve(Spec(mode="infer", precision="fp16", **IMAGES))
    assert forward_flops(replace(spec, half_weights=True)) == forward_flops(spec) > 0


def test_autocast_keeps_its_key_and_its_line():
    "A journal of an older version does not have the field; False means the same as no entry."
    old = seal(Record(model="a", family="timm", mode="infer", precision="fp16", bs=8))
    assert "half_weights" not in to_line(old) and from_line(to_line(old)) == old
    keys = [settings_key(replace(old, half_weights=value)) for value in (None, False, True)]
    assert keys[0] == keys[1] != keys[2]
    new = seal(replace(old, half_weights=True))
    assert from_line(to_line(new)) == new and new.key != old.key


@pytest.mark.parametrize("options,words", [
    (("--fp16",), "use --mode infer"), (("--fp16", "--mode", "forward"), "use --mode infer"),
    (("--mode", "infer"), "--fp32 has no half precision; use --fp16 or --bf16"),
    (("--mode", "infer", "--fp16", "--fp32"), "--fp32 has no half precision; use --fp16 or --bf16"),
])  # fmt: skip
def test_elsewhere_it_is_refused_in_one_line(options, words, tmp_path):
    done = rsg("--model", "resnet50", "--half-weights", *options, cwd=tmp_path)
    assert done.returncode == 2 and words in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("rsg: --half-weights: ")
