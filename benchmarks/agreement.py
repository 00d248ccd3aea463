"""Measure how far one training step in each configuration is from plain FP32, over models: where the limits of `rsg tune` come from.

    python benchmarks/agreement.py [--device cpu] [--seeds 2] [--compile aot_eager] [--models NAME...]

Prints a line for each model and configuration: relative difference of the loss, 1 - cosine of the gradients, relative difference of
their norms, and how far 20 steps lower the loss, as a share of what FP32 does. The last line is one JSON object with the largest of
each by precision.
"""

import argparse
import json

import torch

from ready_steady_go.spec.errors import UserError
from ready_steady_go.spec.spec import Spec
from ready_steady_go.timing.device import set_precision
from ready_steady_go.training.agreement import Agreement, step_facts
from ready_steady_go.training.families import load_family, resolve
from ready_steady_go.training.prepare import check_options, prepare_workload

MODELS = {
    "hf:bert-base": dict(layers=2, seq_len=32, vocab=1000), "hf:gpt2": dict(layers=2, seq_len=32, vocab=1000),
    "lstm:lstm": dict(seq_len=32, emb_dim=128, hid_dim=128, vocab=1000), "lstm:classifier": dict(seq_len=32, emb_dim=64, hid_dim=64),
    "resnet10t": dict(size=64), "resnet18": dict(size=64), "mobilenetv3_small_100": dict(size=64), "vit_tiny_patch16_224": {},
    "convnext_atto": dict(size=64), "resnet50": dict(size=64),
}  # fmt: skip
SPECS = [dict(layout="channels_last"), dict(fused=True), dict(attention="eager"), dict(precision="tf32"), dict(precision="bf16"),
         dict(precision="fp16")]  # fmt: skip


def facts(spec, device, rate=None):
    "Return what the first steps of a spec compute."
    set_precision(spec.precision)
    return step_facts(lambda: prepare_workload(load_family(spec.family).build(spec, device), spec), spec, rate)


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--compile")
    parser.add_argument("--models", nargs="*", default=list(MODELS))
    typed = parser.parse_args(args)
    device, worst = torch.device(typed.device), {}
    print(f"torch {torch.__version__}, {device}\n\n{'model':<24}{'configuration':<28}{'loss':>9}{'angle':>9}{'norm':>9}{'falls':>8}")
    for model in typed.models:
        for seed in range(typed.seeds):
            base = resolve(Spec(model=model, seed=seed, **MODELS.get(model, {})))
            reference = facts(base, device)
            for more in SPECS + [dict(compile=typed.compile)] * bool(typed.compile):
                try:
                    spec = resolve(Spec(model=model, seed=seed, **MODELS.get(model, {}) | more))
                    check_options(spec, device)
                except UserError: continue
                found = Agreement.of(reference, facts(spec, device, reference.rate))
                name, row = " ".join(map(str, more.values())), (found.loss, found.angle, found.norm, found.falls)
                known = worst.setdefault(spec.precision, list(row))
                worst[spec.precision] = [max(a, b) for a, b in zip(known[:3], row)] + [min(known[3], found.falls)]
                if not seed: print(f"{model:<24}{name:<28}{row[0]:>9.1e}{row[1]:>9.1e}{row[2]:>9.1e}{row[3]:>8.2f}", flush=True)
    print(json.dumps({p: dict(zip(("loss", "angle", "norm", "falls"), (float(f"{v:.3g}") for v in row))) for p, row in worst.items()}))


if __name__ == "__main__": main()
