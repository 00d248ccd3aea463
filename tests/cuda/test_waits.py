"Nothing in a step waits for the host, for every family, precision, optimizer and option; a wait that is planted is found."

import pytest

WAITS = "stream_syncs device_syncs event_syncs event_queries blocking_copies mallocs frees".split()
FAMILIES = {
    "timm vit": dict(model="test_vit"),
    "timm resnet": dict(model="test_resnet"),
    "hf bert": dict(model="bert-base", layers=2, seq_len=32),
    "hf gpt2": dict(model="gpt2", layers=2, seq_len=32),
    "lstm": dict(model="lstm", layers=1, seq_len=16),
    "lstm classifier": dict(model="lstm:classifier", layers=1, seq_len=16),
}
PRECISIONS = ("fp32", "tf32", "fp16", "bf16")
STEPS = {
    **{f"{p} {o}": dict(precision=p, optimizer=o) for p in ("fp32", "bf16")
       for o in ("sgd", "adam", "adamw", "adagrad", "adadelta", "rmsprop")},
    **{f"fp16 {o}": dict(precision="fp16", optimizer=o) for o in ("sgd", "adam", "adamw")},
    **{f"fp32 unfused {o}": dict(precision="fp32", optimizer=o, fused=False) for o in ("sgd", "adam", "adamw")},
    **{f"{p} clip": dict(precision=p, clip=1.0) for p in ("fp32", "fp16", "bf16")},
    **{f"{p} grad_accum": dict(precision=p, grad_accum=4) for p in ("fp32", "fp16", "bf16")},
    **{f"{p} checkpointing": dict(precision=p, checkpointing=True) for p in ("fp32", "fp16")},
    **{f"{p} cuda_graph": dict(precision=p, cuda_graph=True) for p in ("fp32", "fp16", "bf16")},
    **{f"cuda_graph {o}": dict(precision="fp32", cuda_graph=True, optimizer=o) for o in ("adam", "adamw")},
    "cuda_graph unfused": dict(precision="fp32", cuda_graph=True, optimizer="adamw", fused=False),
    "cuda_graph infer": dict(precision="fp32", cuda_graph=True, mode="infer"),
    **{f"{p} infer": dict(precision=p, mode="infer") for p in ("fp32", "fp16", "bf16")},
    "fp16 forward": dict(precision="fp16", mode="forward"),
    "torchscript": dict(precision="fp32", mode="infer", torchscript=True),
}
CASES = {f"{family} {p}": spec | dict(precision=p) for family, spec in FAMILIES.items() for p in PRECISIONS}
CASES |= {f"vit {name}": FAMILIES["timm vit"] | more for name, more in STEPS.items()}
CASES |= {
    f"resnet {name}": FAMILIES["timm resnet"] | more
    for name, more in {
        "channels_last": dict(precision="fp16", layout="channels_last"), "cuda_graph": dict(precision="fp32", cuda_graph=True),
    }.items()  # fmt: skip
}
PLANTED = ("loss", "model", "optimizer")


@pytest.fixture(scope="module")
def steps(driver):
    "The counters of one step of each case."
    cases = [dict(spec=spec, bs=4) for spec in CASES.values()]
    cases += [dict(spec=FAMILIES["timm vit"] | dict(precision="fp16"), bs=4, plant=p) for p in PLANTED]
    return dict(zip([*CASES, *PLANTED], (answer["step"] for answer in driver(cases, KERNEL_US=5))))


def waits(step):
    return {name: step[name] for name in WAITS if step[name]}


@pytest.mark.parametrize("name", CASES)
def test_a_step_waits_for_nothing(steps, name):
    assert steps[name]["launches"] > 0 or steps[name]["graph_launches"] == 1
    assert not waits(steps[name])


@pytest.mark.parametrize("place", PLANTED)
def test_a_planted_wait_is_found(steps, place):
    assert waits(steps[place])
