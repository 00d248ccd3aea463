"The optimizer is fused in every precision, and the record says so; a user can turn it off."

import pytest

FUSED = {f"{p} {o}": dict(precision=p, optimizer=o) for p in ("fp32", "tf32", "fp16", "bf16") for o in ("sgd", "adam", "adamw")}
FUSED |= {"graph": dict(precision="fp32", cuda_graph=True), "graph adamw": dict(precision="bf16", cuda_graph=True, optimizer="adamw")}
NOT_FUSED = {"typed": dict(fused=False), "no fused form": dict(optimizer="rmsprop"), "inference": dict(mode="infer")}


@pytest.fixture(scope="module")
def records(driver):
    "A short point of each case."
    specs = FUSED | NOT_FUSED
    cases = [dict(spec=dict(model="test_vit") | spec, bs=2, point=dict(n_batches=2), count=False) for spec in specs.values()]
    return dict(zip(specs, (answer["record"] for answer in driver(cases, KERNEL_US=2))))


@pytest.mark.parametrize("name", FUSED)
def test_the_optimizer_is_fused(records, name):
    assert (records[name]["outcome"], records[name]["fused"]) == ("ok", True)


@pytest.mark.parametrize("name", NOT_FUSED)
def test_the_optimizer_is_not_fused(records, name):
    assert records[name]["outcome"] == "ok" and not records[name]["fused"]
