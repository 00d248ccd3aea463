"Part 2: other models, other options, and what a point leaves behind."

import json
import os
import subprocess
import sys

from ready_steady_go.truth.peaks import peak

from .checks import NOT_HERE, Check, least, most, none, on_h100, ratio, yes
from .part1 import SUITE_BANDS, against_plain, suite


def share_ok(records): return sum(r.ok for r in records) / len(records)


def after_others(plan):
    "Measure a size after three others in the same process, and alone."
    spec, sizes = dict(model=plan.pick("resnet18", "test_vit"), precision=plan.half), plan.pick((8, 16, 32, 64), (2, 4))
    with plan.session() as session: after = [session.rate(bs, **spec) for bs in sizes][-1]
    with plan.session() as session: alone = session.rate(sizes[-1], **spec)
    return {"after others / alone": after / alone}


def eager_and(plan, session, **option):
    "Return the throughput with an option divided by that without."
    spec = dict(model=plan.pick("resnet18", "test_vit"), precision=option.pop("precision", plan.half))
    eager = session.rate(8, **spec)
    return session.rate(8, **spec, **option) / eager


def graphs(plan):
    "Compare CUDA graphs with eager steps."
    found = {"bf16, graph / eager": NOT_HERE}
    with plan.session() as session:
        for p in {"fp16", plan.bf16}: found[f"{p}, graph / eager"] = eager_and(plan, session, precision=p, cuda_graph=True)
    return found


def compiled(plan):
    "Compare torch.compile with CUDA graphs inside with eager steps."
    with plan.session() as session: return {"compiled / eager": eager_and(plan, session, compile="inductor:reduce-overhead")}


def winograd(plan):
    "Measure FP32 convolutions, which may need fewer operations than are counted and must be a result nevertheless."
    spec, sizes = dict(model=plan.pick("vgg19", "test_resnet"), precision="fp32"), (plan.size(64, 2), plan.size(128, 4))
    with plan.session() as session: records = [session.point(bs, **spec) for bs in sizes]
    top, here = max(r.model_tflops or 0 for r in records), not plan.fake and peak(plan.facts["device_name"], "fp32")
    share, on_a100 = top / here if here else NOT_HERE, top / peak("NVIDIA A100-SXM4-80GB", "fp32")
    return {"share of points with a result": share_ok(records), "share of the FP32 peak": share, "share of an A100's": on_a100}


TEXT = ("distilbert-base-cased", "roberta-base", "gpt2", "llama-3.2-1b", "modernbert-base")


def host_waits(plan):
    "Count the transformers whose step waits for the host."
    small = plan.pick({}, dict(layers=1, seq_len=16))
    with plan.session() as session:
        records = [session.point(plan.size(32, 2), model=f"hf:{name}", precision=plan.bf16, **small) for name in plan.pick(TEXT, TEXT[:2])]
    waiting = sum(f["code"] == "host_waits" for r in records for f in r.findings or [])
    sound = sum(not r.failed for r in records) / len(records)  # a small GPU may have no room for the largest
    return {"share of models that did not fail": sound, "models that wait": waiting if plan.cuda else NOT_HERE}


WARNINGS = """
import json, sys, warnings
from dataclasses import replace
from ready_steady_go.run.bench import Bench
from ready_steady_go.spec.spec import Spec
device, bs, more = json.loads(sys.argv[1])
bench = Bench(device)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    record = bench.point(replace(bench.check(Spec(model="lstm", **more)), bs=bs), n_seconds=0.5)
print(json.dumps(dict(outcome=record.outcome, mfu=record.mfu, contiguous=sum("contiguous" in str(w.message) for w in caught))))
"""


def lstm(plan):
    "Count warnings that an LSTM's weights are not one block of memory, in every precision."
    found = {"warnings about weights": 0, "precisions with a result": 0, "mfu in half precision": NOT_HERE}
    precisions = {plan.half, plan.bf16, "fp32"}
    for precision in precisions:
        question = json.dumps([plan.device, plan.size(128, 2), dict(precision=precision) | plan.pick({}, dict(seq_len=8, vocab=100))])
        command = [sys.executable, "-c", WARNINGS, question]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=os.environ, cwd=plan.folder, check=True)
        answer = json.loads(done.stdout.splitlines()[-1])
        found["warnings about weights"] += answer["contiguous"]
        found["precisions with a result"] += (answer["outcome"] == "ok") / len(precisions)
        if precision == "fp16" and not plan.fake: found["mfu in half precision"] = answer["mfu"]
    return found


def inference(plan):
    "Compare inference with a model whose weights are half precision."
    spec, found = dict(model="hf:bert-base", precision=plan.half, mode="infer") | plan.pick({}, dict(layers=1, seq_len=16)), {}
    about = dict(model="hf:bert", precision=plan.half, mode="infer", half=True) | plan.pick({}, dict(layers=1, seq_len=16))
    with plan.session() as session:
        for bs in (1, 8, 64):
            size = plan.size(bs, 2) if bs > 8 else bs
            with plan.plain(bs=size, **about) as loop: plain = loop()
            found[f"batch size {bs}, rsg / plain"] = session.rate(size, **spec) / plain
    return found


def fused(plan):
    "Compare the fused AdamW, which is the default, with the unfused one."
    spec = dict(model="hf:roberta-base", precision=plan.bf16, optimizer="adamw") | plan.pick({}, dict(layers=1, seq_len=16))
    with plan.session() as session: default, unfused = session.point(8, **spec), session.point(8, fused=False, **spec)
    return {"fused by default": int(default.fused is True), "fused / unfused": default.throughput / unfused.throughput}


VIT = dict(model="vit_base_patch16_224", precision="bf16", loop=dict(model="timm:vit_base_patch16_224"))
BERT = dict(model="distilbert-base-cased", precision="fp16", optimizer="adamw", loop=dict(model="hf:distilbert", optimizer="adamw"))
LSTM = dict(model="lstm", precision="fp16", loop=dict(model="lstm:lstm", optimizer="adam"))
SMALL_VIT = dict(model="test_vit", precision="bf16", loop=dict(model="timm:test_vit"))
SMALL_BERT = dict(BERT, layers=1, seq_len=16, loop=dict(BERT["loop"], layers=1, seq_len=16))
SMALL_LSTM = dict(LSTM, seq_len=4, loop=dict(LSTM["loop"], seq_len=4))
LIKE_PLAIN = {"rsg / plain loop": ratio(0.985, 1.015)}
PART2 = [
    Check("plain loop vit_base", 2, 35, against_plain(VIT, SMALL_VIT, 64), LIKE_PLAIN),
    Check("plain loop DistilBERT", 2, 35, against_plain(BERT, SMALL_BERT, 32), LIKE_PLAIN),
    Check("plain loop LSTM", 2, 35, against_plain(LSTM, SMALL_LSTM, 128), LIKE_PLAIN),
    Check("a point after others", 2, 45, after_others, {"after others / alone": ratio(0.985, 1.015)}),
    Check("CUDA graphs", 2, 35, graphs, {
        "fp16, graph / eager": least(1.0, "estimate", (0.01, 100)), "bf16, graph / eager": least(1.0, "estimate", (0.01, 100)),
    }, "cuda"),
    Check("vgg19 in FP32", 2, 30, winograd, {
        "share of points with a result": yes(), "share of the FP32 peak": most(1.3), "share of an A100's": None,
    }),
    Check("waits in transformers", 2, 70, host_waits, {"share of models that did not fail": yes(), "models that wait": none()}),
    Check("LSTM", 2, 45, lstm, {
        "warnings about weights": none(), "precisions with a result": ratio(0.99, 1.01, short=None),
        "mfu in half precision": on_h100(0.2, 0.5, "estimate"),
    }),
    Check("inference with half weights", 2, 55, inference, {
        "batch size 1, rsg / plain": None, "batch size 8, rsg / plain": None, "batch size 64, rsg / plain": ratio(0.95, 1.05, "estimate"),
    }),
    Check("fused optimizer", 2, 20, fused, {"fused by default": yes(), "fused / unfused": ratio(0.99, 1.3, "estimate")}, "cuda"),
    Check("suite distilbert", 2, 45, suite("distilbert", 90), SUITE_BANDS),
    Check("torch.compile", 2, 80, compiled, {"compiled / eager": least(1.0, "estimate", (0.01, 100))}, "triton"),
]  # fmt: skip
