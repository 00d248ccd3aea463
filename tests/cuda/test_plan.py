"The GPU acceptance plan runs on the fake CUDA, in short form."

import json
import subprocess
import sys

from conftest import HERE


def test_the_plan_on_the_fake_cuda(fake, tmp_path):
    "The fake device is no GPU for the doctor, and rsg and the plain loop both train on it."
    command = [sys.executable, HERE.parents[1] / "benchmarks" / "gpu.py", "--part", "1", "--short", "--out", tmp_path]
    env = fake | dict(FAKE_CUDA_KERNEL_US="60")
    names = "doctor,plain loop resnet50"
    done = subprocess.run([*map(str, command), "--checks", names], env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    doctor, loop = (c["values"] for c in answer["checks"])
    assert answer["fake"] and answer["device"] == "cuda" and not answer["missed"] and not answer["skipped"]
    assert {v["verdict"] for v in doctor} == {"not on this device"}
    assert [v["verdict"] for v in loop] == ["ok"]
    (journal,) = tmp_path.glob("*.jsonl")
    records = [json.loads(line) for line in journal.read_text().splitlines()]
    assert [(r["outcome"], r["precision"]) for r in records] == [("ok", "fp16")] * 2
