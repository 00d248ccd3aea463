"""The real dstack, where it is installed: a server of its own on this machine, without a cloud.

The image is left out of the tasks: dstack asks the image's registry before it plans, and tests contact nobody.
"""

import os
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from ready_steady_go.commands.fleet import Dstack, fleet_collect, fleet_down, fleet_ls, fleet_up, read_state
from ready_steady_go.commands.fleet_plan import BOUNDED_BACKENDS, GPU_TYPES, Plan, gpu_types, write_plan
from ready_steady_go.commands.offers import dstack_prices

pytestmark = pytest.mark.skipif(shutil.which("dstack") is None, reason="dstack is not installed")
FLEET, NIGHT = "rsg-1126-0340", Path("night")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    "Start a server with its own home; return the variables that lead to it."
    home = tmp_path_factory.mktemp("home")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | dict(HOME=str(home), DSTACK_SERVER_DIR=str(home / ".dstack/server"))
    with (home / "log").open("w", encoding="utf-8") as log:
        command = ["dstack", "server", "-y", "--port", str(port), "--token", "test-token"]
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        ends = time.monotonic() + 120
        while time.monotonic() < ends:
            try: urllib.request.urlopen(f"http://127.0.0.1:{port}/healthcheck", timeout=2).close()
            except OSError: time.sleep(0.5)
            else: break
        address = ["--name", "main", "--url", f"http://127.0.0.1:{port}", "--token", "test-token", "-y"]
        subprocess.run(["dstack", "project", "add", *address], env=env, check=True, capture_output=True)
        yield env
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


@pytest.fixture
def night(server, tmp_path, monkeypatch):
    "Write a plan of every GPU type, without an image."
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "DSTACK_SERVER_DIR"): monkeypatch.setenv(name, server[name])
    monkeypatch.delenv("PYTHONPATH", raising=False)
    write_plan(Plan(fleet=FLEET, gpus=gpu_types(",".join(GPU_TYPES), {}), minutes=15, usd_most=99.0), NIGHT)
    for path in NIGHT.glob("*.yml"): path.write_text(re.sub(r"(?m)^image: .*\n", "", path.read_text(encoding="utf-8")), encoding="utf-8")
    return NIGHT


def test_a_fleet_from_the_plan_to_the_end(night, capsys):
    "Each file is accepted and planned. Without a cloud there is no offer, so each task fails and no box is left."
    one = subprocess.run(["dstack", "apply", "-f", "rtx4090.dstack.yml"], cwd=night, input="n\n", capture_output=True, text=True)
    plan = " ".join(one.stdout.split())
    assert "Max price $0.875" in plan and "Max duration 15m" in plan and "Retry policy off" in plan and "gpu=RTX4090:1" in plan, one.stdout
    assert Dstack(folder=night).runs() == {} and Dstack(folder=night).boxes(FLEET) is None
    assert fleet_up(night) == 0
    runs = Dstack(folder=night).runs()
    assert {*runs} == {f"{FLEET}-{gpu}" for gpu in GPU_TYPES} and Dstack(folder=night).boxes(FLEET) == []
    spec = runs[f"{FLEET}-h100"]["run_spec"]["configuration"]
    assert (spec["max_price"], spec["max_duration"], spec["stop_duration"], spec["retry"]) == (2.89, 900, 300, False)
    assert spec["backends"] == [*BOUNDED_BACKENDS] and spec["spot_policy"] == "on-demand" and len(spec["commands"]) == 3
    ends = time.monotonic() + 120
    while time.monotonic() < ends and any(run["status"] != "failed" for run in Dstack(folder=night).runs().values()): time.sleep(1)
    assert fleet_up(night) == 0 and len(Dstack(folder=night).runs()) == len(runs)  # what has failed is not rented again
    assert {task["state"] for task in read_state(night)["tasks"]} == {"applied"}
    capsys.readouterr()
    assert fleet_ls(night) == 0 and capsys.readouterr().out.count("no offer at this price") == len(runs)
    fleet_collect(night)
    assert fleet_down(night, poll_s=0.5) == 0 and Dstack(folder=night).boxes(FLEET) is None


def test_offers_without_a_cloud_are_none(night):
    assert dstack_prices(Dstack(folder=night)) == ({}, "dstack has no offer")


def test_a_server_that_is_away_is_not_the_end_of_a_fleet(night, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(RuntimeError, match="not proven to be gone"): fleet_down(night)
