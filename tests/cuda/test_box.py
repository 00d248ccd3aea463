"The box around the device: sensors in a real run, ceilings that are wrong, and a GPU that torch cannot use."

import json
import subprocess
import sys

import pytest
from conftest import HERE

CARD = dict(NAME="NVIDIA GeForce RTX 3090", TFLOPS=30, KERNEL_US=20)  # its peak in FP32 is 35.6 TFLOP/s
SMALL = ("--model", "test_vit", "--fp32", "--bs", "8")


@pytest.fixture(scope="module")
def nvml(tmp_path_factory):
    "The folder of a fake libnvidia-ml.so.1."
    folder = tmp_path_factory.mktemp("nvml")
    source = HERE.parent / "fake_nvml.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / "libnvidia-ml.so.1", source], check=True)
    return folder


@pytest.fixture
def rented(fake, nvml, tmp_path):
    "The environment of a box with a fake CUDA and a fake NVML: `gpu` is what the sensors show."

    def environment(gpu="", **cuda):
        found = fake | {f"FAKE_CUDA_{name}": str(value) for name, value in (CARD | cuda).items()}
        return found | dict(LD_LIBRARY_PATH=str(nvml), FAKE_NVML_0=gpu, XDG_CACHE_HOME=str(tmp_path / "cache"))

    return environment


def run_rsg(env, folder, *args):
    "Run `rsg`; return exit code, stderr and records."
    command = [sys.executable, "-m", "ready_steady_go", *map(str, args)]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120)
    journal = folder / "rsg-results.jsonl"
    records = [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []
    return done.returncode, done.stderr, records


def codes(record): return [f["code"] for f in record["findings"]]


def test_the_sensors_are_read_while_a_model_trains(rented, tmp_path):
    "The parent finds the GPU by the address that the child reports, and its readings are in the record."
    gpu = "limit=250000 power=180000 clock1=1400 reasons=0 clock_max1=2100 energy=1000000,1500000"
    code, err, (record,) = run_rsg(rented(gpu), tmp_path, *SMALL, "--n-seconds", "3")
    assert code == 0 and record["outcome"] == "ok", err
    assert record["pci_id"] == "00000000:01:00.0" and record["device_name"] == CARD["NAME"] and record["driver"] == "999.1"
    assert record["gpus"] == 1 and "sm_" in record["cuda_archs"] and record["n_params"] > 0 and record.get("autocast") is None
    assert (record["power_limit_w"], record["power_limit_default_w"], record["power_w"]) == (250, 350, 180)
    assert (record["sm_clock_mhz"], record["sm_clock_max_mhz"], record["energy_j"]) == (1400, 2100, 500)
    assert {"power_limit", "low_clocks"} <= set(codes(record)) and "1400 of 1610 MHz" in str(record["findings"])
    assert record["ceiling_share"] < 1 and not {"wrong_ceiling", "over_ceiling", "impossible"} & set(codes(record))


def test_a_gpu_that_torch_cannot_use_is_refused(rented, tmp_path):
    "The CPU of a box whose GPU NVML sees is measured only on request."
    code, err, records = run_rsg(rented(DEVICES=0), tmp_path, *SMALL, "--n-batches", "3")
    assert code == 2 and not records and len(err.strip().splitlines()) == 1, err
    assert "NVIDIA driver 999.1 is installed, but torch" in err and "use --device cpu" in err
    code, err, (record,) = run_rsg(rented(DEVICES=0), tmp_path, *SMALL, "--n-batches", "3", "--device", "cpu")
    assert code == 0 and record["device"] == "cpu", err


PLAY = """
import json, os, sys
from dataclasses import replace
from ready_steady_go.box.ceiling import boot_id, ceiling_name, ceilings_file, applied_limits
from ready_steady_go.run.bench import Bench
from ready_steady_go.spec.spec import Spec

bench, question = Bench("cuda"), json.loads(sys.stdin.read())
spec = replace(bench.check(Spec(model=question["model"], precision="fp32")), bs=question["bs"])
name = ceiling_name(bench.machine, "fp32", applied_limits(bench.gpu))

def play(kept):
    "Measure a point with a value in the file; return record and file."
    if kept is not None:
        ceilings_file().parent.mkdir(parents=True, exist_ok=True)
        ceilings_file().write_text(json.dumps({"boot": boot_id(), name: kept}))
    bench.spec = None
    record = bench.point(spec, n_batches=question["n_batches"])
    about = {field: getattr(record, field) for field in "outcome throughput model_tflops ceiling_share plausible findings".split()}
    return about | dict(kept=json.loads(ceilings_file().read_text()).get(name))

for kept in question["kept"]: print(json.dumps(play(kept)), flush=True)
"""


def play(env, *kept, model="test_vit", bs=8, n_batches=20):
    "Measure a point for each value that the file of ceilings holds; None leaves the file."
    question = json.dumps(dict(kept=kept, model=model, bs=bs, n_batches=n_batches))
    done = subprocess.run([sys.executable, "-c", PLAY], env=env, input=question, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_ceiling_that_is_wrong_is_refused_said_and_measured_again(rented):
    "A factor of 3 and of 1,000 on the kept value; then one that is too low, which a model beats."
    first, three, thousand, again, low = play(rented(), None, 3 * 30.0, 1000 * 30.0, None, 1e-6)
    for answer in (first, three, thousand, again, low):
        assert answer["outcome"] == "ok" and 25 < answer["kept"] < 30.1
        assert answer["ceiling_share"] == pytest.approx(answer["model_tflops"] / answer["kept"])
    assert [codes(answer).count("wrong_ceiling") for answer in (first, three, thousand, again, low)] == [0, 1, 1, 0, 0]
    assert "3e+04 TFLOP/s, kept from an earlier run" in str(thousand["findings"])
    assert "over_ceiling" not in codes(low)


def test_a_ceiling_belongs_to_a_power_limit(rented):
    "The box keeps that of 350 W. With half of the power, half of the throughput is the ceiling, and each is found again."
    (full,), (half,) = play(rented("limit=350000"), None), play(rented("limit=175000", TFLOPS=15), None)
    assert half["kept"] == pytest.approx(full["kept"] / 2, rel=0.05)
    assert half["ceiling_share"] == pytest.approx(half["model_tflops"] / half["kept"])
    (again,) = play(rented("limit=350000", TFLOPS=15), None)
    assert again["kept"] == full["kept"]


def test_with_a_wrong_ceiling_an_impossible_rate_is_refused(rented):
    "Every operation lasts 2 us, so what is measured again is as wrong as the kept value: no ceiling is left, and the data sheet decides."
    env = rented(TFLOPS=0, KERNEL_US=2, MEM_GIB=400)
    for answer in play(env, 3 * 35.6, 1000 * 35.6, model="vit_base_patch16_224", bs=256, n_batches=3):
        assert answer["outcome"] == "impossible" and answer["plausible"] is False and "impossible" in codes(answer)
        assert codes(answer).count("wrong_ceiling") == 3 and answer["ceiling_share"] is None and answer["kept"] is None
