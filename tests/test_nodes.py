"Two machines on one: node 0 measures and keeps the results, node 1 only takes part."

import os
import socket
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
from synthetic import point

from ready_steady_go.box.price import Price
from ready_steady_go.run.request import Request
from ready_steady_go.run.watch import with_price
from ready_steady_go.store.record import from_line, settings_key


def rsg(folder, *args, core=None):
    "Run the command, on one core if it is named; return exit code, stdout and stderr."
    command, pinned = [sys.executable, "-m", "ready_steady_go", *args], core is not None
    pin = (lambda: os.sched_setaffinity(0, [core])) if pinned else None  # the threads of two machines would wait for each other
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, preexec_fn=pin)
    return done.returncode, done.stdout, done.stderr


def free_port():
    "Return a port that no process uses."
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.mark.skipif(sys.platform != "linux", reason="ranks end with their parent on Linux")
def test_two_machines_share_a_step(tmp_path):
    args = ["--model", "test_resnet", "--device", "cpu", "--bs", "2", "--n-batches", "6"]
    args += ["--nodes", "2", "--master", f"127.0.0.1:{free_port()}"]
    cores, found, folders = sorted(os.sched_getaffinity(0)), {}, [tmp_path / str(rank) for rank in range(2)]

    def run(rank):
        folders[rank].mkdir(exist_ok=True)
        found[rank] = rsg(folders[rank], *args, "--node-rank", str(rank), core=cores[rank % len(cores)])

    def run_both():
        threads = [threading.Thread(target=run, args=(rank,)) for rank in range(2)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()

    run_both()
    (code, out, err), (other_code, other_out, other_err) = found[0], found[1]
    assert (code, other_code) == (0, 0), err + other_err
    (record,) = map(from_line, (folders[0] / "rsg-results.jsonl").read_text(encoding="utf-8").splitlines())
    assert (record.outcome, record.n_gpus, record.n_nodes, record.backend, record.global_bs, record.n_items) == ("ok", 2, 2, "gloo", 4, 24)
    assert len(record.local_step_ms) == 2 and record.scaling_efficiency > 0 and "2 processes, 2 nodes, gloo" in out
    assert other_out == "" and not os.listdir(folders[1])
    assert "machine 1 of 2: this one only takes part" in other_err and "machine 0 has finished" in other_err
    run_both()  # everything is in the journal of machine 0, which tells it to machine 1
    assert [code for code, _, _ in found.values()] == [0, 0] and "1 point from the journal" in found[0][2], found
    assert "machine 0 has finished" in found[1][2] and len((folders[0] / "rsg-results.jsonl").read_text(encoding="utf-8").splitlines()) == 1


def test_the_number_of_machines_is_in_the_key_and_in_the_price():
    one, two = (replace(point(), n_gpus=4, strategy="ddp", backend="nccl", n_nodes=n) for n in (None, 2))
    assert settings_key(one) != settings_key(two) and one.label != two.label
    price = Price(usd_per_hour=2.0, source="typed", more=dict(num_gpus=2))
    dollars = [with_price(r, price).usd_per_msample for r in (one, two)]
    assert dollars[1] == pytest.approx(2 * dollars[0])  # two boxes of two GPUs
    (spec,) = Request.from_options(dict(model="a", gpus="4", nodes="2", node_rank="0", master="box:1")).specs
    assert (spec.n_gpus, spec.n_nodes, spec.strategy) == (8, 2, "ddp")


MEET = ("--nodes", "2", "--node-rank", "1", "--master", "box:29500")
WRONG = {
    ("--node-rank", "1"): "are for several machines; add --nodes 2",
    ("--master", "box:1"): "are for several machines; add --nodes 2",
    ("--nodes", "2"): "add --master HOST:PORT",
    ("--nodes", "2", "--master", "box:1"): "add --node-rank 0 on the first one",
    ("--nodes", "2", "--node-rank", "2", "--master", "box:1"): "the numbers of 2 machines are 0 to 1",
    ("--nodes", "2", "--node-rank", "0", "--master", "box"): "--master box: expected a host and a port",
    ("--nodes", "2", "--node-rank", "0", "--master", "box:0"): "--master box:0: expected a host and a port",
    ("--nodes", "0"): "expected a whole number of at least 1",
    (*MEET, "--gpus", "1,2"): "--gpus needs one number",
    (*MEET, "--gpus", "all"): "--gpus needs one number",
    (*MEET, "--hand-back"): "only machine 0 has results",
    (*MEET, "--mode", "infer"): "shares nothing between GPUs",
    (*MEET, "--device", "cuda:1"): "is one GPU; use --device cuda",
}


@pytest.mark.parametrize("args", WRONG, ids=" ".join)
def test_what_cannot_be_is_one_line(args):
    typed, names = {}, iter(args)
    for name in names: typed[name.removeprefix("--").replace("-", "_")] = True if name == "--hand-back" else next(names)
    with pytest.raises(Exception) as error: Request.from_options(dict(model="a") | typed)
    assert WRONG[args] in str(error.value) and "\n" not in str(error.value)


def test_rsg_tune_knows_no_machines(tmp_path):
    code, out, err = rsg(tmp_path, "tune", "--model", "test_resnet", "--nodes", "2")
    assert code == 2 and "--nodes" in err and len(err.splitlines()) == 1
