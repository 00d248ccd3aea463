"Inference on CUDA with half weights queues fewer kernels than under autocast, and its throughput is the truth's."

import pytest

KERNEL_US = 100
CASES = {
    "autocast": {}, "half weights": dict(half_weights=True), "graph": dict(half_weights=True, cuda_graph=True),
    "torchscript": dict(half_weights=True, torchscript=True),
}  # fmt: skip


@pytest.fixture(scope="module")
def answers(driver):
    spec = dict(model="test_vit", precision="fp16", mode="infer")
    cases = [dict(spec=spec | more, point=dict(n_seconds=1.0)) for more in CASES.values()]
    return dict(zip(CASES, driver(cases, KERNEL_US=KERNEL_US)))


@pytest.mark.parametrize("name", CASES)
def test_the_throughput_is_the_truth(answers, name):
    record, step = answers[name]["record"], answers[name]["step"]
    assert record["outcome"] == "ok", record["error"]
    assert record["throughput"] == pytest.approx(answers[name]["samples"] / (step["launches"] * KERNEL_US / 1e6), rel=0.01)
    assert (record["autocast"], record["half_weights"]) == (("float16", None) if name == "autocast" else (None, True))


def test_no_weight_is_cast_in_a_step(answers):
    launches = {name: answer["step"]["launches"] for name, answer in answers.items()}
    assert launches["half weights"] < 0.8 * launches["autocast"]
    assert launches["half weights"] == launches["graph"] and answers["graph"]["step"]["graph_launches"] == 1
