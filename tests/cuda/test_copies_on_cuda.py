"A copy of a process that has only imported uses the device; nothing on the device gets from one model to the next."

import json
import os
import subprocess
import sys

import pytest
from conftest import HERE

LOOKS = dict(model="tracing:looks")


@pytest.fixture
def measured(fake, tmp_path):
    "Measure models in one run, as `tests/traces.py` does."

    def run(*models, prelude="pass", **env):
        asked = dict(device="cuda", folder=str(tmp_path), models=models, prelude=prelude)
        settings = fake | {f"FAKE_CUDA_{name}": str(value) for name, value in env.items()}
        command = [sys.executable, HERE.parent / "traces.py"]
        done = subprocess.run(command, input=json.dumps(asked), env=settings, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_a_model_finds_nothing_of_the_one_before(measured):
    "Neither memory, switches, autocast's cache nor compiled code: the second model sees what the first one saw."
    found = measured(dict(model="tracing:leaves", precision="fp16"), dict(LOOKS, precision="fp16"))
    first, second = found["seen"]
    assert found["records"] == ["ok", "ok"] and found["started"] == 1
    assert first["parent"] == second["parent"] and first["pid"] != second["pid"]
    assert first["seen"] == second["seen"] and not any(second["seen"][name] for name in ("kept", "compiled", "tf32"))


def test_a_process_that_has_started_the_driver_is_not_copied(measured):
    "A copy could not use the device. So each model gets a new process."
    found = measured(LOOKS, LOOKS, prelude="import torch; torch.cuda.device_count(); torch.cuda.init()")
    assert found["records"] == ["ok", "ok"] and found["started"] == 2


COPY = """
import ctypes, os
from ready_steady_go.box.process import driver_started
fake, n = ctypes.CDLL(None), ctypes.byref(ctypes.c_int())
codes = [driver_started(), fake.cudaGetDeviceCount(n), driver_started()]
if os.fork() == 0: print(*codes, fake.cudaGetDeviceCount(n), flush=True)
os._exit(0)
"""


def test_the_fake_driver_does_not_survive_a_fork(fake):
    "As with the real one, error 3 is cudaErrorInitializationError."
    done = subprocess.run([sys.executable, "-c", COPY], env=fake, capture_output=True, text=True, timeout=100)
    assert done.stdout.split() == ["False", "0", "True", "3"], done.stderr


def test_a_ladder_in_a_run_is_measured_as_alone(rsg, tmp_path):
    "Memory, switches and throughput of a small model after a large one are those that it has in a run of its own."
    small = ("--model", "test_vit", "--fp16", "--bs", "8", "--n-batches", "20")
    fields = "peak_mem_bytes peak_reserved_bytes peak_mem_steady_bytes tf32_matmul tf32_conv cudnn_benchmark autocast fused".split()
    code, _, err, (alone,) = rsg(*small, KERNEL_US=50)
    assert code == 0, err
    os.remove(tmp_path / "rsg-results.jsonl")
    large = ("--model", "test_vit", "--tf32", "--fp16", "--bs", "8", "--n-batches", "20")
    code, _, err, records = rsg("--model", "test_byobnet", *large, KERNEL_US=50)
    (after,) = (r for r in records if r["model"] == "test_vit" and r["precision"] == "fp16")
    assert code == 0 and len(records) == 4, err
    assert {name: after[name] for name in fields} == {name: alone[name] for name in fields}
    assert after["throughput"] == pytest.approx(alone["throughput"], rel=0.02)
