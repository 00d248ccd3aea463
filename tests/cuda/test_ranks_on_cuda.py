"Several devices on the fake CUDA: too few of them, and a world of one rank with the clock and the passes of a GPU. NCCL is not here."

import json
import subprocess
import sys

import pytest

CARD = dict(NAME="NVIDIA GeForce RTX 3090", KERNEL_US=20)
# One rank over gloo; the parts of a point are those of several ranks, and the all-reduces are left out.
WORLD = """
import json, os
import torch, torch.distributed as dist
from ready_steady_go.run.ranks import RankBench, Ranks
from ready_steady_go.spec.spec import Spec

class Toy:
    "A model that is its own shared form: gloo does not know the fake device."
    def __init__(self, model, **how): self.model, self.how = model, how
    def __call__(self, inputs): return self.model(inputs)

from ready_steady_go.training import parallel
parallel.DistributedDataParallel = Toy
os.environ["LOCAL_RANK"] = "0"
dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
bench = RankBench(Ranks(0, 1), "cuda")
bench.bandwidth = lambda n_bytes: n_bytes * 10.0
spec = bench.check(Spec(model="test_vit", precision="fp16", bs=8))
record = bench.point(spec, n_seconds=1.0)
bench.bandwidth = None
print("RECORD", json.dumps(vars(record)))
from ready_steady_go.box.card_child import answer_card
questions = [dict(do="find", device=None), dict(do="find", device="cuda:1"), dict(do="peers")]
print("CARDS", json.dumps([answer_card(question) for question in questions]))
"""


def test_more_gpus_than_there_are(rsg):
    code, out, err, records = rsg("--model", "test_vit", "--gpus", "4", "--bs", "8", DEVICES=2, **CARD)
    assert (code, out, records) == (2, "", []) and err == "rsg: --gpus 4: this machine has 2 GPUs; use --gpus 2\n"


def test_all_of_one_gpu_is_one_gpu(rsg):
    code, out, err, (record,) = rsg("--model", "test_vit", "--gpus", "1,all", "--bs", "8", "--n-batches", "5", DEVICES=1, **CARD)
    assert (code, record["n_gpus"]) == (0, 1) and "strategy" not in record, err


def test_a_rank_on_cuda_has_all_parts_of_a_point(fake):
    env = fake | {f"FAKE_CUDA_{name}": str(value) for name, value in dict(CARD, DEVICES=2).items()}
    done = subprocess.run([sys.executable, "-c", WORLD], env=env, capture_output=True, text=True, timeout=200)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("RECORD ")] or [done.stderr]
    record = json.loads(line.removeprefix("RECORD "))
    assert record["outcome"] == "ok", record["error"]
    assert record["global_bs"] == 8 and len(record["local_step_ms"]) == 1 and record["peak_reserved_bytes"] > 0
    assert record["scaling_efficiency"] > 0 and record["single_throughput"] > 0 and record["forward_ms"] > 0
    assert record["allreduce_busbw_256mb"] == pytest.approx(10 * 2**28) and record["p2p"] == {}
    box, one, peers = json.loads(done.stdout.partition("CARDS ")[2].splitlines()[0])  # what the doctor asks
    assert (box["count"], one["count"], one["pci"], peers["access"]) == (2, 1, "00000000:41:00.0", {"0-1": True})
    assert "clocks_disagree" not in [f["code"] for f in record["findings"]]
