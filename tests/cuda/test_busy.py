"The busy share of a GPU is the truth's, without the profiler; a step that waits for the device has its own finding."

import pytest

POINT = dict(n_seconds=1.0)
HOST_BOUND = {
    "a few hundred launches": dict(model="test_vit"),
    "half precision": dict(model="test_vit", precision="fp16"),
    "more launches than a queue holds": dict(model="bert-base", layers=6, seq_len=16, grad_accum=4),
    "one launch of a graph": dict(model="test_vit", precision="fp16", cuda_graph=True),
    "inference": dict(model="test_vit", mode="infer"),
}


@pytest.fixture(scope="module")
def answers(driver):
    "Points of a slow host on a GPU whose profiler does not work."
    cases = [dict(spec=spec, point=POINT, plant="profiler") for spec in HOST_BOUND.values()]
    return dict(zip(HOST_BOUND, driver(cases, KERNEL_US=1)))


@pytest.mark.parametrize("name", HOST_BOUND)
def test_the_busy_share_is_the_truth(answers, name):
    record, step = answers[name]["record"], answers[name]["step"]
    truth = min(1.0, step["busy_ns"] / 1e9 * record["throughput"] / answers[name]["samples"])
    assert record["busy"] == pytest.approx(truth, rel=0.03)
    assert "passes_failed" not in [f["code"] for f in record["findings"]]


def test_a_step_has_more_launches_than_a_queue_holds(answers):
    assert answers["more launches than a queue holds"]["step"]["launches"] > 1024
    assert answers["more launches than a queue holds"]["record"]["busy"] < 0.5


def test_a_step_that_waits_for_the_device_is_a_finding(driver):
    spec = dict(model="test_vit", precision="fp16")
    calm, waiting = driver([dict(spec=spec, point=POINT, plant=plant, count=False) for plant in (None, "loss")], KERNEL_US=5)
    assert "host_waits" not in [f["code"] for f in calm["record"]["findings"]]
    (found,) = [f["text"] for f in waiting["record"]["findings"] if f["code"] == "host_waits"]
    assert "once in each step" in found and waiting["record"]["busy"] is None
