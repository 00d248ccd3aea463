"FLOPs agree with published numbers, and each model is counted once."

from dataclasses import replace

import pytest
import torch
from torch import nn

from ready_steady_go.spec.spec import Spec
from ready_steady_go.training.families import resolve
from ready_steady_go.truth.flops import (
    SHAPES,
    _forward_flops,
    count_flops,
    forward_flops,
    model_flops,
    named_forward_flops,
    needed_flops,
)

# multiply-adds of one forward pass in units of 10^9: timm's results/benchmark-infer-*.csv, and the papers where they agree
GMAC = {
    "resnet50": 4.1, "resnet18": 1.82, "vgg19": 19.63, "vit_base_patch16_224": 17.58, "convnext_tiny": 4.47, "efficientnet_b0": 0.39,
    "mobilenetv3_large_100": 0.22, "swin_tiny_patch4_window7_224": 4.51,
}  # fmt: skip


@pytest.mark.parametrize("name", GMAC)
def test_timm(name):
    gmac = forward_flops(resolve(Spec(model=name))) / 2e9
    assert gmac == pytest.approx(GMAC[name], rel=0.02)
    assert named_forward_flops(name, family="timm") == forward_flops(resolve(Spec(model=name)))


def test_options_without_an_effect_do_not_count_again():
    spec = resolve(Spec(model="resnet50", bs=1))
    flops, counts = forward_flops(spec), _forward_flops.cache_info().misses
    for other in (dict(bs=512), dict(seed=1), dict(precision="bf16"), dict(mode="infer", fused=None), dict(n_gpus=8)):
        assert forward_flops(replace(spec, **other)) == flops
    assert _forward_flops.cache_info().misses == counts
    assert forward_flops(replace(spec, size=448)) == pytest.approx(4 * flops, rel=0.01)


@pytest.mark.parametrize("name, gmac", [("repvgg_b3", 26.21), ("mobileone_s0", 0.275)])  # timm's results, with merged branches
def test_merged_branches(name, gmac):
    spec = resolve(Spec(model=name))
    assert forward_flops(spec, merged=True) / 2e9 == pytest.approx(gmac, rel=0.01)
    assert forward_flops(spec) > 1.1 * forward_flops(spec, merged=True)


def test_a_model_that_passes_weights_to_a_function(): assert forward_flops(resolve(Spec(model="vit_base_patch16_siglip_224"))) > 30e9


def test_a_model_that_cannot_run_on_meta_is_unknown(monkeypatch):
    from ready_steady_go.training.families import timm as family

    class ReadsAValue(nn.Module):
        def __init__(self): super().__init__(); self.w = nn.Parameter(torch.ones(1))
        def forward(self, x): return x * self.w if x.sum().item() > 0 else x

    monkeypatch.setattr(family, "_image_model", lambda spec: ReadsAValue())
    assert forward_flops(resolve(Spec(model="resnet18", size=64))) is None


def test_the_random_state_does_not_change():
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    forward_flops(resolve(Spec(model="test_vit")))
    assert (state == torch.random.get_rng_state()).all()


@pytest.mark.parametrize("layer, gates", [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
@pytest.mark.parametrize("layers, both", [(1, False), (2, False), (2, True)])
def test_recurrent_layers(layer, gates, layers, both):
    inside = nn.Sequential(nn.Linear(24, 16))
    make = lambda: (nn.Sequential(nn.Linear(24, 16), layer(16, 8, layers, bidirectional=both, batch_first=True)), (torch.empty(2, 5, 24),))
    ways = 2 if both else 1
    weights = ways * gates * 8 * (16 + 8) + (layers - 1) * ways * gates * 8 * (8 * ways + 8)
    assert count_flops(make) == 2 * 10 * (weights + inside[0].weight.numel())


def test_packed_sequences():
    class Packed(nn.Module):
        def __init__(self): super().__init__(); self.rnn = nn.LSTM(16, 8)
        def forward(self, x): return self.rnn(nn.utils.rnn.PackedSequence(x, torch.tensor([3, 2, 1], device="cpu")))[0].data
    try: flops = count_flops(lambda: (Packed(), (torch.empty(6, 16),)))
    except NotImplementedError: pytest.skip("this torch has no packed LSTM on meta")
    assert flops == 2 * 6 * 4 * 8 * 24


@pytest.mark.parametrize("name, seq_len, gmac", [
    ("bert-base", 128, 11.17), ("distilbert-base-cased", 128, 5.59), ("roberta-base", 128, 11.17), ("bert-large-uncased", 128, 39.46),
])  # fmt: skip
def test_transformers(name, seq_len, gmac):
    assert named_forward_flops(name, family="hf", seq_len=seq_len) / 2e9 == pytest.approx(gmac, rel=0.01)


# without position embeddings, and without input embeddings where they are not tied
@pytest.mark.parametrize("name, params", [
    ("gpt2", 123.6e6), ("gpt2-medium", 353.8e6), ("gpt2-large", 772.7e6), ("gpt2-xl", 1555.9e6),
    ("llama-3.2-1b", 1.236e9), ("llama-3.2-3b", 3.21e9),
    ("llama-2-7b", 6.607e9), ("llama-2-13b", 12.85e9), ("mistral-7b", 7.11e9), ("qwen2.5-0.5b", 0.494e9), ("qwen2.5-1.5b", 1.54e9),
])  # fmt: skip
def test_a_decoder_has_two_flops_per_parameter(name, params):
    assert SHAPES[name].flops(1) / 2 == pytest.approx(params, rel=0.01)


@pytest.mark.parametrize("name, seq_len", [("gpt2", 1024), ("gpt2", 64), ("llama-3.2-1b", 256)])
def test_a_record_and_a_name_count_attention_alike(name, seq_len):
    "Both count the whole matrix for MFU, and half of it for a limit."
    spec = resolve(Spec(model=name, seq_len=seq_len, layers=2))
    shape = replace(SHAPES[name], layers=2)
    assert forward_flops(spec) == shape.flops(seq_len) and needed_flops(spec) == shape.flops(seq_len, masked=True)
    assert forward_flops(spec) - needed_flops(spec) == 2 * 2 * seq_len**2 * shape.width


def test_an_encoder_needs_all_of_its_attention():
    spec = resolve(Spec(model="distilbert-base-cased", layers=1))
    assert needed_flops(spec) == forward_flops(spec) and SHAPES["bert-base"].flops(512) == SHAPES["bert-base"].flops(512, masked=True)


def test_a_recurrent_language_model():
    words = named_forward_flops("nlayers=1 emb=1024 hid=1024 vocab=33279 untied", family="lstm")
    assert words == 2 * 4 * (1024 + 1024) * 1024 + 2 * 1024 * 33279


UNKNOWN = [("no_such_model", "timm"), ("t5-small", "hf"), ("bert-base", "hf"), ("nlayers=1", "lstm"), ("x", "abacus"), ("", "")]


@pytest.mark.parametrize("model, family", UNKNOWN)
def test_unknown_is_none(model, family): assert named_forward_flops(model, family=family) is None


def test_modes():
    assert [model_flops(2, m) for m in ("train", "infer", "forward", "nap")] == [6, 2, 2, None]
