"The real nvidia-ml-py on a fake libnvidia-ml.so.1, which plays every kind of box."

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ready_steady_go.box import sensors

ROOT = Path(__file__).resolve().parent.parent
COMPILER = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only the loader of Linux finds the fake library"),
    pytest.mark.skipif(COMPILER is None, reason="no C compiler to build the fake libnvidia-ml.so.1 with"),
]

# One process plays many boxes: the fake library reads the environment at every call.
PLAY = """
import json, os, sys, time
from dataclasses import asdict
from ready_steady_go.box.links import read_links
from ready_steady_go.box.machine import any_gpu_lost, gpu_count, nvidia_driver
from ready_steady_go.box.sensors import EnergyMeter, Sampler, open_gpu, read_facts, summarise_load
from ready_steady_go.truth.health import gpu_findings

def play(box):
    for name in ("FAKE_NVML_0", "FAKE_NVML_1", "FAKE_NVML_INIT"): os.environ.pop(name, None)
    os.environ.update(box["env"])
    gpu = open_gpu(box["where"])
    before = read_facts(gpu)
    with Sampler(gpu, every_s=0.002) as sampler:
        until = time.monotonic() + (0 if gpu is None else 0.5)
        while len(sampler.samples) < 8 and time.monotonic() < until: time.sleep(0.002)
    load, after = summarise_load(sampler.stop()), read_facts(gpu)
    meter = EnergyMeter(gpu, every_s=0.01).start()
    time.sleep(0 if gpu is None else 0.03)
    joules, how = meter.stop()
    found = gpu_findings(before, load, after, box["boost"])
    seen = dict(findings=found, before=before and asdict(before), load=asdict(load), joules=joules, how=how, opened=gpu is not None,
        lost=any_gpu_lost(), driver=nvidia_driver(), gpus=gpu_count(), samples=len(sampler.samples), torch="torch" in sys.modules)
    if gpu: gpu.close()
    links, reasons = read_links(["00000000:01:00.0", "00000000:41:00.0"])
    return seen | dict(links=links, reasons=reasons)

for line in sys.stdin: print(json.dumps(play(json.loads(line))), flush=True)
"""


def box(gpu="", *, other=None, init=None, where="0000:01:00.0", library="new", boost=None, **expect):
    "Return a box and what must be found on it. The fake library's defaults are a healthy GPU's."
    env = {"FAKE_NVML_0": gpu}
    if other is not None: env["FAKE_NVML_1"] = other
    if init is not None: env["FAKE_NVML_INIT"] = str(init)
    return dict(env=env, where=where, boost=boost), library, expect


EVERYTHING = """limit limit_default limit_max power gen_max width_max gen width clock_max1 clock_max2 clock1 clock2 temperature0 threshold1
    persistence ecc_mode ecc ecc_ever reasons busy used gen_card energy mig rows_failed pages_pending"""

RTX_4090 = "clock_max1=3105 power=246800 limit=450000 limit_default=450000 reasons=0"

# All findings of a box: those named here, and no others.
BOXES = dict(
    healthy=box(),
    limited=box("limit=250000", findings=["power_limit"], power_limit_w=250.0, power_limit_default_w=350.0),
    limited_a_little=box("limit=345000"),
    at_its_power_limit=box("reasons=0x4 power=349000 clock1=1500", sm_clock_mhz=1500),
    capped_in_bursts=box("reasons=0x4 power=200000 clock1=1500"),
    at_its_limit_without_a_reason=box("reasons=0 power=345000 clock1=1500"),
    hot_hardware=box("reasons=0x48 temperature0=92", findings=["throttle_thermal"], temperature_c=92),
    hot_software=box("reasons=0x24", findings=["throttle_thermal"]),
    power_brake=box("reasons=0x88", findings=["throttle_power_brake"]),
    slowed_for_no_reason=box("reasons=0x8", findings=["throttle_hw"]),
    one_lane=box("width=1", findings=["pcie_width"], pcie_width=1),
    slow_link=box("gen=1,1,1,1,3", findings=["pcie_gen"], pcie_gen=3),
    link_sleeps_when_idle=box("gen=1,4 reasons=0x1,0x4 clock1=210,1900 width=16", sm_clock_min_mhz=1900),
    idle_all_the_time=box("gen=1 width=1 reasons=0x1 clock1=210 power=20000", n_samples=0),
    narrow_slot=box("width=4 width_max=4 gen=3 gen_max=3", pcie_gen_card=4),
    ecc_errors=box("ecc=2 ecc_ever=3", findings=["ecc"], ecc_uncorrected=2, ecc_uncorrected_ever=3),
    ecc_errors_long_ago=box("ecc_ever=1", findings=["ecc_ever"], text="unless the count grows"),
    ecc_errors_in_a_replaced_row=box("ecc=0 ecc_ever=2,3", findings=["ecc"], text="1 during this run"),
    ecc_errors_now=box("ecc=0,1 ecc_ever=0,1", findings=["ecc"], text="1 during this run"),
    no_ecc=box("ecc_mode=!3 ecc=!3 ecc_ever=!3", ecc_mode=None, ecc_uncorrected=None, power_limit_w=350.0),
    ecc_off=box("ecc_mode=0 ecc=!3 ecc_ever=!3", ecc_mode=False),
    rows_to_replace=box("rows_pending=1 rows_failed=0", findings=["memory_repair"], repair_pending=True),
    rows_not_replaced=box("rows_failed=1", findings=["memory_repair"]),
    memory_in_use=box("used=3221225472", findings=["memory_in_use"], text="3.0 GiB", mem_used_bytes=3 * 2**30),
    rtx_4090=box(f"{RTX_4090} clock1=2655", boost=2520),
    rtx_4090_slow=box(f"{RTX_4090} clock1=2300", boost=2520, findings=["low_clocks"]),
    unknown_boost=box("clock_max1=3105 clock1=2655 power=246800 reasons=0"),
    h100=box("clock_max1=1980 clock1=1755 power=300000 reasons=0", boost=1980, findings=["low_clocks"], text="1755 of 1881 MHz"),
    low_clocks=box("clock1=1200 power=150000 reasons=0", findings=["low_clocks"], sm_clock_max_mhz=2000),
    fixed_clocks=box("clock1=1200 power=150000 reasons=0x2", findings=["low_clocks"], text="but by fixed clocks; run nvidia-smi -rac"),
    lost_in_the_middle=box("dead_after=80", findings=["gpu_lost"], lost=True, before_lost=False),
    lost_before=box("dead_after=0", findings=["gpu_lost"], lost=True, power_limit_w=None),
    no_driver=box(init=9, opened=False, driver=None),
    wrong_driver=box(init=18, opened=False, driver=None),
    no_permission=box(init=4, opened=False, driver=None),
    no_permission_for_this_one=box("handle=!4", opened=False),
    lost_when_asked_for=box("handle=!15", opened=False),
    no_library=box(library="none", opened=False, driver=None),
    no_such_gpu=box(where="0000:99:00.0", opened=False),
    energy_counted=box("energy=1000000,1012500", joules=12.5, how="counter"),
    energy_integrated=box("energy=!3", how="power"),
    energy_counter_restarted=box("energy=1000000,500", joules=None, how=None),
    no_power_at_all=box("energy=!3 power=!3 reasons=0", joules=None, how=None, power_w=None),
    old_library=box(library="old", how="power", pcie_gen_card=None, mig=None, mem_used_bytes=520 * 2**20, throttle={"power_cap": 1.0}),
    old_library_hot=box("reasons=0x40 width=1", library="old", findings=["throttle_thermal", "pcie_width"]),
    knows_nothing=box(" ".join(f"{key}=!3" for key in EVERYTHING.split()), n_samples=0, joules=None, how=None),
    first_of_two=box(other="limit=200000", power_limit_w=350.0),
    second_of_two=box(other="limit=200000", where="00000000:41:00.0", findings=["power_limit"], power_limit_w=200.0),
    second_by_uuid=box(other="limit=200000", where="GPU-one", findings=["power_limit"]),
    no_such_uuid=box(where="GPU-two", opened=False),
    a_slice_by_uuid=box("mig=1", where="GPU-part", findings=["mig"], mig=True),
    one_of_two_without_an_address=box(other="limit=200000", where=None, opened=False),
    the_only_one_without_an_address=box("limit=200000", where=None, findings=["power_limit"]),
    joined_by_the_cpu=box(other="", links={"0-1": "PHB"}),
    joined_by_nvlink=box("nvlinks=4", other="nvlinks=4", links={"0-1": "NV4"}),
    joined_by_nvswitch=box("nvlinks=18 nvlink_to=2", other="nvlinks=18 nvlink_to=2", links={"0-1": "NV18"}),
    on_two_sockets=box("topology=50 p2p=4", other="", links={"0-1": "SYS"}, reasons={"0-1": "a setting of the driver turns it off"}),
    joined_by_nothing_known=box("topology=!3 p2p=!3 nvlinks=!3", other="nvlinks=!3", links={}, reasons={}),
    mig=box("mig=1 used=9221225472 energy=1,90000", findings=["mig"], mig=True, joules=None, how=None),
)


@pytest.fixture(scope="session")
def seen(tmp_path_factory):
    "Return the readings and findings of each box; each library has its own process."
    folder, answers = tmp_path_factory.mktemp("nvml"), {}
    for library in ("new", "old", "none"):
        place = folder / library
        place.mkdir()
        file = place / "libnvidia-ml.so.1"
        if library == "none": file.write_text("this is not a library")
        else:
            flags = ["-DOLD"] * (library == "old")
            subprocess.run([COMPILER, "-shared", "-fPIC", *flags, "-o", file, ROOT / "tests/fake_nvml.c"], check=True)
        names = [name for name, (_, which, _) in BOXES.items() if which == library]
        lines = "".join(json.dumps(BOXES[name][0]) + "\n" for name in names)
        env = os.environ | {"LD_LIBRARY_PATH": str(place)}
        done = subprocess.run([sys.executable, "-c", PLAY], input=lines, env=env, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and not done.stderr, done.stderr
        answers |= zip(names, map(json.loads, done.stdout.splitlines()), strict=True)
    return answers


@pytest.mark.parametrize("name", BOXES)
def test_box(seen, name):
    found, expect = seen[name], dict(BOXES[name][2])
    assert [finding["code"] for finding in found["findings"]] == expect.pop("findings", [])
    assert found["opened"] == expect.pop("opened", True)
    assert found["driver"] == expect.pop("driver", "999.1")
    assert found["lost"] == expect.pop("lost", False)
    assert not found["torch"]
    if "text" in expect: assert expect.pop("text") in found["findings"][0]["text"]
    if "before_lost" in expect: assert found["before"]["lost"] == expect.pop("before_lost")
    for key, value in expect.items():
        (where,) = [part for part in (found, found["load"], found["before"]) if key in part][:1]
        assert where[key] == value, key


def test_a_finding_is_one_short_line(seen):
    texts = [finding["text"] for found in seen.values() for finding in found["findings"]]
    assert texts and not [text for text in texts if len(text) >= 160 or "\n" in text or "None" in text]


def test_the_gpus_of_the_driver_are_counted(seen):
    counts = {name: seen[name]["gpus"] for name in ("healthy", "first_of_two", "no_driver", "no_library", "no_permission")}
    assert counts == dict(healthy=1, first_of_two=2, no_driver=0, no_library=0, no_permission=0)


def test_integrated_energy_is_power_times_time(seen):
    assert 340 * 0.03 <= seen["energy_integrated"]["joules"] < 340 * 2


def test_the_sampler_stops_at_a_lost_gpu(seen):
    assert 1 <= seen["lost_in_the_middle"]["samples"] < 8
    assert seen["lost_before"]["samples"] == 1


def test_there_are_no_samples_without_a_gpu(seen):
    assert seen["no_driver"]["samples"] == 0 and seen["no_driver"]["before"] is None


def test_stop_does_not_wait_for_a_driver_that_hangs(monkeypatch):
    class Stuck:
        "A GPU that returns three values, then hangs."
        nvml, lost, asked = None, False, 0
        def ask(self, what, *args):
            self.asked += 1
            if self.asked > 3: time.sleep(30)

    monkeypatch.setattr(sensors, "JOIN_TIMEOUT_S", 0.05)
    began = time.monotonic()
    assert sensors.Sampler(Stuck()).start().stop() == []
    assert time.monotonic() - began < 20
