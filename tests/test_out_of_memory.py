"A full card shows itself in many errors; an ambiguous one is tried once more; a search sees the memory of the steps."

import json
import sys
from types import SimpleNamespace

import pytest

from ready_steady_go.box.machine import Machine
from ready_steady_go.run import bench as bench_module
from ready_steady_go.run.supervise import Child, Runner, trial_result
from ready_steady_go.spec.spec import Spec
from ready_steady_go.store.record import make_record
from ready_steady_go.timing.device import error_chain, is_oom, oom_cause

CLEAR = ("CUDA out of memory. Tried to allocate 2.00 GiB", "CUDA error: cudaErrorMemoryAllocation", "CUBLAS_STATUS_ALLOC_FAILED")
AMBIGUOUS = (
    "CUBLAS_STATUS_NOT_INITIALIZED", "CUDNN_STATUS_NOT_INITIALIZED", "CUDNN_STATUS_EXECUTION_FAILED", "CUBLAS_STATUS_EXECUTION_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR", "CUBLAS_STATUS_INTERNAL_ERROR", "CUDNN_STATUS_NOT_SUPPORTED",
)  # fmt: skip
SPEC = Spec(model="toy", family="timm", size=8, bs=4, optimizer="sgd")


@pytest.mark.parametrize("text", CLEAR)
def test_some_errors_are_clear(text):
    assert is_oom(RuntimeError(text))


@pytest.mark.parametrize("text", AMBIGUOUS)
def test_others_mean_it_near_a_full_card(text):
    assert (is_oom(RuntimeError(text), full=0.5), is_oom(RuntimeError(text), full=0.95)) == (False, True)


def hidden_oom():
    "Return the error of a capture that ran out of memory, whose end then failed too."
    try:
        try:
            try:
                raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
            finally:
                raise RuntimeError("operation failed due to a previous error during capture")
        except RuntimeError as error:
            raise RuntimeError("--cuda-graph: a step cannot be captured; remove --cuda-graph") from error
    except RuntimeError as error:
        return error


def test_an_error_that_hides_another_one():
    error = hidden_oom()
    assert len(error_chain(error)) == 3 and str(oom_cause(error)).startswith("CUDA out of memory")


def test_a_chain_of_errors_that_is_a_ring_ends():
    a, b = RuntimeError("a"), RuntimeError("b")
    a.__cause__, b.__cause__ = b, a
    assert error_chain(a) == [a, b] and not is_oom(a)


def point_that_raises(monkeypatch, error, full):
    "Return the bench, and the record of a point whose model cannot be built."
    def build(spec, device):
        raise error

    monkeypatch.setattr(bench_module, "memory_share", lambda device: full)
    bench = bench_module.Bench("cpu")
    bench.load = lambda name: SimpleNamespace(build=build)
    return bench, bench.point(SPEC)


@pytest.mark.parametrize("error,full,outcome,ambiguous", [
    (RuntimeError("CUDA out of memory"), 0.5, "oom", False),
    (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"), 0.97, "oom", True),
    (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"), 0.5, "failed:RuntimeError", False),
    (hidden_oom(), 0.5, "oom", False),
])  # fmt: skip
def test_the_outcome_of_a_point(monkeypatch, error, full, outcome, ambiguous):
    bench, record = point_that_raises(monkeypatch, error, full)
    assert (record.outcome, bench.ambiguous) == (outcome, ambiguous)
    assert outcome != "oom" or ambiguous or "out of memory" in record.error


def test_other_processes_fill_a_card_too():
    from ready_steady_go.timing import device

    module = SimpleNamespace(
        max_memory_reserved=lambda d: 10, get_device_properties=lambda d: SimpleNamespace(total_memory=100), mem_get_info=lambda d: (5, 100)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "torch_module", lambda kind: module)
        assert device.memory_share(SimpleNamespace(type="cuda")) == 0.95


# A child whose answers are written in a file, one for each process that is started.
CHILD = """
import json, sys
from pathlib import Path
answers = Path({path!r})
first, *rest = answers.read_text().splitlines()
answers.write_text("\\n".join(rest))
for line in sys.stdin:
    question = json.loads(line)
    checked = dict(event="checked", specs=[], machine=dict(device="cuda", device_name="Toy GPU"))
    answer = checked if question["do"] == "check" else json.loads(first)
    print(json.dumps(dict(answer, id=question["id"])), flush=True)
"""


@pytest.mark.parametrize("second,outcome", [("ok", "ok"), ("oom", "oom")])
def test_an_ambiguous_error_is_tried_once_more_in_a_fresh_process(second, outcome, tmp_path):
    path, started = tmp_path / "answers", []
    toy = dict(model="toy", bs=SPEC.bs)
    answer = lambda outcome, ambiguous: json.dumps(dict(event="record", record=toy | dict(outcome=outcome), ambiguous=ambiguous))
    path.write_text("\n".join([answer("oom", True), answer(second, second == "oom"), answer("failed:never asked", False)]))

    def start():
        started.append(1)
        return Child((sys.executable, "-c", CHILD.format(path=str(path))))

    runner = Runner(None, start)
    record = runner.point(SPEC, {})
    runner.end()
    assert (record.outcome, len(started)) == (outcome, 2)


def test_a_search_sees_the_memory_of_the_steps():
    "Tuning tries workspaces as large as what is free, so the peak of the warm-up is near the card's memory at any batch size."
    tuned = make_record(SPEC, Machine(device="cuda", device_name="Toy GPU"), peak_mem_bytes=23 * 2**30, peak_mem_steady_bytes=3 * 2**30)
    assert (tuned.memory_bytes, trial_result(tuned).mem_bytes) == (3 * 2**30, 3 * 2**30)
    unknown = make_record(SPEC, Machine(device="cuda", device_name="Toy GPU"), peak_mem_bytes=5 * 2**30)
    assert trial_result(unknown).mem_bytes == 5 * 2**30
