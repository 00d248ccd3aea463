"Models of transformers: published sizes, a seeded sample that trains a step, and one line for each mistake."

import importlib.util
import random
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from ready_steady_go.spec.errors import UserError
from ready_steady_go.spec.spec import Spec
from ready_steady_go.training.families import load_family, resolve
from ready_steady_go.training.workload import STEP_CLASSES, TrainStep, nonfinite_finding
from ready_steady_go.truth.flops import SHAPES, forward_flops

family = load_family("hf")
INSTALLED = importlib.util.find_spec("transformers") is not None
needs_transformers = pytest.mark.skipif(not INSTALLED, reason="transformers is not installed")


@needs_transformers
@pytest.mark.parametrize("name", family.PUBLISHED_MODELS)
def test_a_friendly_name_has_the_published_parameters(name):
    spec = resolve(Spec(model=name if name != "vit-base-patch16-224" else f"hf:{name}"))
    assert spec.family == "hf"
    assert sum(p.numel() for p in family.build(spec, "meta").model.parameters()) == family.PUBLISHED_MODELS[name].params


@needs_transformers
def test_distilbert_has_the_sizes_of_the_published_comparison():
    spec = resolve(Spec(model="distilbert-base-cased"))
    assert (spec.vocab, spec.classes, spec.task) == (28996, 3, "classify")


# multiply-adds in units of 10^9 of one forward pass, without heads: see `flops.SHAPES` and the papers
GMAC = {"bert-base": 11.17, "distilbert-base-cased": 5.59, "roberta-base": 11.17, "bert-large": 39.46}


@needs_transformers
@pytest.mark.parametrize("name, gmac", GMAC.items())
def test_flops_of_encoders(name, gmac):
    assert forward_flops(resolve(Spec(model=name, seq_len=128))) / 2e9 == pytest.approx(gmac, rel=0.02)


@needs_transformers
@pytest.mark.parametrize("name", ["gpt2", "gpt2-medium", "llama-3.2-1b", "qwen2.5-0.5b"])
def test_flops_of_decoders(name):
    "torch counts attention without its causal mask, which the published shapes have: at 128 tokens that is less than 2 %."
    spec = resolve(Spec(model=name))
    assert forward_flops(spec) == pytest.approx(SHAPES[name].flops(128), rel=0.02)
    assert forward_flops(replace(spec, attention="eager", precision="bf16", lr=0.1)) == forward_flops(spec)


def tiny(name, task, **more):
    "Return the spec of a model with few layers and a small vocabulary."
    return resolve(Spec(model=f"hf:{name}", task=task, layers=2, vocab=512, seq_len=16, **more))


# Architectures that are small enough by default for two shared cores; a seeded choice of them is trained.
LIGHT = (
    "albert bert big_bird bloom camembert convbert data2vec-text deberta deberta-v2 distilbert electra ernie flaubert fnet "
    "gpt2 ibert layoutlm longformer luke mamba megatron-bert mobilebert modernbert mpnet nystromformer openai-gpt opt rembert "
    "roberta roberta-prelayernorm roc_bert roformer squeezebert xlm xlm-roberta xlnet xmod yoso biogpt codegen ctrl "
).split()


@needs_transformers
@pytest.mark.parametrize("name, task", [("vit", "classify"), ("whisper", "lm")])
def test_models_of_images_and_speech_are_found_by_name(name, task):
    spec = resolve(Spec(model=name, layers=1))
    assert (spec.family, spec.task, spec.size) == ("hf", task, 224 if name == "vit" else None)
    assert name in family.names()


@needs_transformers
@pytest.mark.parametrize("name", sorted(random.Random(5).sample(LIGHT, 10)))
def test_a_sampled_architecture_trains_a_step(name):
    if name not in family.names(): pytest.skip("this transformers does not have it")
    spec = tiny(name, None)
    step = TrainStep(family.build(spec, "cpu"), "fp32", 2)
    step()
    assert step.inputs.shape == (2, 16) and nonfinite_finding(step) is None


@needs_transformers
@pytest.mark.parametrize("name, task", [("bert", "classify"), ("gpt2", "lm"), ("gpt2", "classify"), ("bert", "lm")])
@pytest.mark.parametrize("mode", STEP_CLASSES)
def test_modes(name, task, mode):
    spec = tiny(name, task, precision="bf16", mode=mode)
    step = STEP_CLASSES[mode](family.build(spec, "cpu"), "bf16", 2)
    step()
    assert nonfinite_finding(step) is None
    if mode == "infer": assert step.loss.shape == ((2, 16, 512) if task == "lm" else (2, 2))


@needs_transformers
def test_a_seed_decides_the_tokens_and_none_is_special():
    def batch(seed):
        work = family.build(tiny("bert", "classify", seed=seed), "cpu")
        torch.manual_seed(seed)
        return work.draw(8)[0]

    assert torch.equal(batch(0), batch(0)) and not torch.equal(batch(0), batch(1))
    assert (batch(0) != 0).all()  # 0 is the padding


@needs_transformers
@pytest.mark.parametrize("name", ["bert-base", "gpt2", "llama-3.2-1b", "modernbert-base", "deberta-v3-base"])
def test_a_step_reads_nothing_back_to_the_host(name):
    from torch.utils._python_dispatch import TorchDispatchMode

    class CountReads(TorchDispatchMode):
        n = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.n += "_local_scalar_dense" in str(func)
            return func(*args, **(kwargs or {}))

    spec = resolve(Spec(model=name, layers=1, vocab=512, seq_len=16))
    step = TrainStep(family.build(spec, "cpu"), "fp32", 2)
    step()
    with CountReads() as seen: step()
    assert seen.n == 0


WRONG = {
    "too long": (dict(model="bert-base", seq_len=1000), "positions for 512"),
    "positions that begin later": (dict(model="roberta-base", seq_len=513), "positions for 512"),
    "an image size": (dict(model="bert-base", size=224), "--size"),
    "a task that the architecture does not have": (dict(model="hf:mamba", task="classify"), "--task classify"),
    "flash without its package": (dict(model="bert-base", attention="flash", precision="bf16"), "--attention flash"),
    "a typo": (dict(model="bert-bsae"), "did you mean 'bert-base'"),
    "a typo in the family": (dict(model="hf:bert-bsae"), "did you mean 'hf:bert-base'"),
    "a cell": (dict(model="bert-base", cell="GRU"), "--cell"),
}


@needs_transformers
@pytest.mark.parametrize("options, words", WRONG.values(), ids=WRONG.keys())
def test_a_mistake_gives_an_error_of_one_line(options, words):
    with pytest.raises(UserError, match=words) as error: resolve(Spec(**options))
    assert "\n" not in str(error.value)


@needs_transformers
def test_an_unreachable_hub_gives_an_error_of_one_line(monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="no configuration from the hub") as error: resolve(Spec(model="hf:no-such-org/no-such-model"))
    assert "\n" not in str(error.value) and "its own code" not in str(error.value)


@needs_transformers
def test_a_model_on_the_hub(monkeypatch):
    "There is no network here, so the hub's configuration is made locally."
    import transformers

    requested = []

    def hub(name, trust_remote_code):
        requested.append((name, trust_remote_code))
        return transformers.BertConfig(num_hidden_layers=3, hidden_size=64, num_attention_heads=4, intermediate_size=96, num_labels=5)

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", hub)
    spec = resolve(Spec(model="hf:org/model", layers=2))
    assert (spec.model, spec.family, spec.classes, spec.task) == ("org/model", "hf", 5, "classify")
    assert len(family.build(spec, "cpu").model.bert.encoder.layer) == 2
    assert set(requested) == {("org/model", False)}


def test_without_transformers_the_error_names_the_package(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "transformers" else find(name, *more))
    family._architectures_by_task.cache_clear()
    try:
        for name in "bert-base", "hf:bert-base", "hf:mamba", "hf:org/model":
            with pytest.raises(UserError, match="pip install 'rsg-bench") as error: resolve(Spec(model=name))
            assert "\n" not in str(error.value)
        assert family.names() == list(family.PUBLISHED_MODELS)
        with pytest.raises(UserError, match="no model 'mamba'"): resolve(Spec(model="mamba"))
    finally: family._architectures_by_task.cache_clear()


def test_listing_the_friendly_names_loads_no_torch():
    code = "from ready_steady_go.commands.models import models_command; models_command(None)"
    code += "; import sys; print(*{'torch', 'timm'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[-1] == "" and any(line.split()[:1] == ["bert-base"] for line in lines)


def test_a_model_does_not_compile_itself():
    "ModernBERT of transformers 4.48 compiles itself on a GPU unless its configuration forbids it."
    from types import SimpleNamespace

    from ready_steady_go.spec.spec import Spec
    from ready_steady_go.training.families import hf

    config = SimpleNamespace(use_cache=True, pad_token_id=0, reference_compile=None)
    hf._fit_task(config, Spec(model="modernbert-base", task="classify"))
    assert (config.use_cache, config.reference_compile) == (False, False)
