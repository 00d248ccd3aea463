"The memory of a record: what a graph needs, a card that is nearly full, and the allocator's settings."

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
POINT = dict(n_batches=20)


def codes(record):
    return [f["code"] for f in record["findings"]]


def test_a_graph_needs_what_is_reserved_for_it(driver):
    cases = [dict(spec=dict(model="test_vit", cuda_graph=g), bs=64, point=POINT, count=False) for g in (False, True)]
    eager, graph = (answer["record"] for answer in driver(cases, KERNEL_US=10))
    assert graph["peak_mem_steady_bytes"] == graph["peak_reserved_steady_bytes"] > 0
    assert graph["peak_mem_steady_bytes"] > 0.5 * eager["peak_mem_steady_bytes"] > 0


def test_a_nearly_full_card_is_a_finding(driver):
    "Each step needs a little more memory than the last, so torch frees its cache and tries again."
    cases = [dict(spec=dict(model="test_vit"), bs=2, point=POINT, plant=plant, count=False) for plant in (None, "memory")]
    roomy, tight = (answer["record"] for answer in driver(cases, KERNEL_US=200, MEM_GIB=1))
    assert roomy["outcome"] == tight["outcome"] == "ok"
    assert "memory_tight" in codes(tight) and "memory_tight" not in codes(roomy)


@pytest.fixture(scope="module")
def nvml(tmp_path_factory):
    "The folder of a fake NVML."
    folder = tmp_path_factory.mktemp("nvml")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / "libnvidia-ml.so.1", ROOT / "tests/fake_nvml.c"], check=True)
    return folder


@pytest.mark.parametrize("typed,there,expected", [
    (None, True, "expandable_segments:True"),
    ("max_split_size_mb:128", True, "max_split_size_mb:128"),
    (None, False, None),  # torch would crash
])  # fmt: skip
def test_the_allocator_has_expandable_segments_and_its_settings_are_kept(fake, nvml, tmp_path, typed, there, expected):
    env = fake | dict(FAKE_CUDA_KERNEL_US="10", FAKE_NVML_0="limit=350000")
    env |= dict(LD_LIBRARY_PATH=f"{nvml}{os.pathsep}{env.get('LD_LIBRARY_PATH', '')}") if there else {}
    env |= dict(PYTORCH_CUDA_ALLOC_CONF=typed) if typed else {}
    command = [sys.executable, "-m", "ready_steady_go", "--model", "test_vit", "--bs", "2", "--n-batches", "5", "--wandb", "off"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
    (record,) = [json.loads(line) for line in (tmp_path / "rsg-results.jsonl").read_text().splitlines()]
    assert (done.returncode, record["outcome"]) == (0, "ok"), done.stderr
    assert record.get("allocator") == expected


USABLE = """
import json
from ready_steady_go.run.child import Answers
answer = Answers()(dict(do="check", device="cuda", specs=[dict(model="test_vit")]), print)
print(json.dumps([answer["usable_bytes"], answer["machine"]["gpu_mem"]]))
"""


def test_the_search_plans_with_the_memory_that_is_left(fake):
    "Another process has 3 of 8 GiB, which no record of this one shows."
    env = fake | dict(FAKE_CUDA_MEM_GIB="8", FAKE_CUDA_TAKEN_GIB="3")
    done = subprocess.run([sys.executable, "-c", USABLE], env=env, capture_output=True, text=True, timeout=120)
    usable, total = json.loads(done.stdout.splitlines()[-1])
    assert (usable, total) == (5 * 2**30, 8 * 2**30), done.stderr
