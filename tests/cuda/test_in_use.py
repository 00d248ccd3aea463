"Two runs on one card: the second is refused, and the lock of a killed run is gone."

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

POINT = ("--model", "test_vit", "--fp32", "--bs", "8")


def command(*args): return [sys.executable, "-m", "ready_steady_go", *args]


@pytest.fixture
def measuring(fake, tmp_path):
    "A run that measures on the first card for a minute."
    folder = tmp_path / "first"
    folder.mkdir()
    two = fake | dict(FAKE_CUDA_DEVICES="2")
    run = subprocess.Popen(command(*POINT, "--n-seconds", "60"), cwd=folder, env=two, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not [*Path(fake["TMPDIR"]).glob("rsg-*.lock")] and time.monotonic() < until: time.sleep(0.1)
    yield run
    run.send_signal(signal.SIGTERM)
    run.wait(30)


def test_a_second_run_on_the_card_is_refused_until_the_first_is_gone(measuring, rsg):
    code, _, err, records = rsg(*POINT, "--n-batches", "3", DEVICES=2)
    assert code == 1 and not records and "Traceback" not in err, err
    assert "another rsg" in err and "GPU-" in err and "wait for its end, or use --device" in err
    code, out, err, _ = rsg("doctor", "--seconds", "2", "--device", "cuda")
    assert code == 1 and "another rsg" in err and not out
    code, _, err, records = rsg(*POINT, "--n-batches", "3", "--device", "cuda:1", DEVICES=2)
    assert code == 0 and records[-1]["outcome"] == "ok", err
    code, _, err, _ = rsg(*POINT, "--n-batches", "3", "--device", "cpu", DEVICES=2)
    assert code == 0, err
    measuring.kill()
    measuring.wait()
    code, _, err, records = rsg(*POINT, "--n-batches", "3", "--fresh", DEVICES=2)
    assert code == 0 and records[-1]["device"] == "cuda", err
