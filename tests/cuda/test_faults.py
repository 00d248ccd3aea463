"Each fault of a device has its outcome, and the points after it are measured; devices are found by their kind."

import pytest

SMALL = ("--model", "test_vit", "--fp32", "--n-batches", "20")


def outcomes(records):
    return {r["bs"]: r["outcome"] for r in records}


def test_a_batch_that_does_not_fit_ends_the_list(rsg):
    code, out, err, records = rsg(*SMALL, "--bs", "8-8192*4", MEM_GIB=0.5, KERNEL_US=20)
    found = outcomes(records)
    assert code == 0 and found[8] == "ok" and "oom" in found.values(), err
    assert {outcome for outcome in found.values()} <= {"ok", "oom", "skipped:oom at a smaller batch size"}
    first = min(bs for bs, outcome in found.items() if outcome == "oom")
    assert all(outcome == "ok" for bs, outcome in found.items() if bs < first)


def test_a_search_ends_below_the_memory(rsg):
    code, out, err, records = rsg("--model", "test_vit", "--fp32", "--budget", "60", MEM_GIB=0.5, KERNEL_US=20)
    best = [r for r in records if r["search"] == "confirm"]
    assert code == 0 and best and all(r["outcome"] in ("ok", "oom") for r in records), err
    assert all(r["peak_mem_bytes"] < 0.5 * 2**30 for r in records if r["outcome"] == "ok")


def test_an_illegal_address_costs_one_point(rsg):
    "The process is lost; the next point gets a new one, which lives as long again."
    code, out, err, records = rsg(*SMALL, "--bs", "4,8", FAIL_AFTER=4000, KERNEL_US=5)
    assert code == 1 and {r["outcome"].partition(":")[0] for r in records} == {"failed"} and len(records) == 2, err
    assert all("illegal" in r["error"].lower() for r in records)


@pytest.mark.parametrize("args,env,expected", [
    (("--device", "cuda:1"), dict(DEVICES=2), "cuda"),
    (("--device", "cuda"), dict(DEVICES=2, NAME="NVIDIA GeForce RTX 4090", CAPABILITY=8.9, MEM_GIB=23.5), "cuda"),
    ((), dict(NAME="NVIDIA GeForce RTX 2080 Ti", CAPABILITY=7.5), "cuda"),
    ((), dict(NAME="NVIDIA A100-SXM4-80GB", CAPABILITY=8.0, MEM_GIB=79), "cuda"),
])  # fmt: skip
def test_a_device_is_used(rsg, args, env, expected):
    code, out, err, records = rsg(*SMALL, "--bs", "4", *args, KERNEL_US=10, **env)
    (record,) = records
    assert code == 0 and record["outcome"] == "ok" and record["device"].startswith(expected), err
    assert record["device_name"] == env.get("NAME", record["device_name"])
    major, minor = str(env.get("CAPABILITY", 8.6)).split(".")
    assert record["device_capability"] == f"({major}, {minor})"
    assert record["gpu_mem"] == int(env.get("MEM_GIB", 24) * 2**30)


@pytest.mark.parametrize("args,env,words", [
    (("--device", "cuda:1"), dict(DEVICES=1), "--device cuda:1"),
    (("--tf32",), dict(CAPABILITY=7.5), "--tf32"),
    (("--bf16",), dict(CAPABILITY=7.5), "--bf16"),
    ((), dict(CAPABILITY=6.1, NAME="NVIDIA GeForce GTX 1080"), "torch"),
])  # fmt: skip
def test_what_a_device_lacks_is_one_line(rsg, args, env, words):
    code, out, err, records = rsg("--model", "test_vit", "--bs", "4", *args, **env)
    assert code == 2 and words in err and len(err.strip().splitlines()) == 1 and not records, err


def test_without_a_device_the_cpu_is_measured_and_said(rsg):
    code, out, err, records = rsg(*SMALL, "--bs", "2", DEVICES=0)
    assert code == 0 and records[0]["device"] == "cpu" and "CPU" in err
