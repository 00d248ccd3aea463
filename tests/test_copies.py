"Each model is measured in a fresh process: a copy of one that has only imported, or a new one where that is not enough."

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ready_steady_go.box.process import driver_started
from ready_steady_go.run.supervise import Runner, needs_new_process
from ready_steady_go.spec.spec import Spec

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a process is copied on Linux only")

LOOKS = dict(model="tracing:looks")


def measured(folder, *models, device="cpu", prelude="pass"):
    "Measure models in one run; return outcomes, what each saw, and how many children were started."
    asked = dict(device=device, folder=str(folder), models=models, prelude=prelude)
    paths = os.pathsep.join([str(Path(__file__).parents[1]), str(folder)])
    command, env = [sys.executable, Path(__file__).with_name("traces.py")], os.environ | dict(PYTHONPATH=paths, OMP_NUM_THREADS="1")
    done = subprocess.run(command, input=json.dumps(asked), env=env, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_model_finds_nothing_of_the_one_before(tmp_path):
    "The first leaves memory, variables, switches, compiled code and a copy of its process; the second finds a process as the first did."
    found = measured(tmp_path, dict(model="tracing:leaves"), LOOKS)
    first, second = found["seen"]
    assert found["records"] == ["ok", "ok"] and found["started"] == 1
    assert first["parent"] == second["parent"] and first["pid"] != second["pid"]
    assert first["seen"] == second["seen"]
    assert not any(second["seen"][name] for name in ("kept", "env", "compiled", "deterministic", "tf32"))
    for pid in (first["pid"], first["parent"], second["pid"]):
        with pytest.raises(ProcessLookupError): os.kill(pid, 0)


def test_where_a_copy_is_not_enough_there_is_a_new_process(tmp_path):
    "After a compiler, a failure, a changed environment and a user's own model."
    changed, compiled = dict(LOOKS, env=dict(CHANGED="1")), dict(LOOKS, compile="eager")
    found = measured(tmp_path, compiled, LOOKS, dict(model="tracing:fails"), LOOKS, changed, dict(model="own:net"), LOOKS)
    assert found["records"] == ["ok", "ok", "failed:RuntimeError", "ok", "ok", "ok", "ok"]
    parents = [seen["parent"] for seen in found["seen"]]
    assert [a == b for a, b in zip(parents, parents[1:])] == [False, True, False, False, True, False]
    assert found["started"] == 5


def test_a_process_with_a_thread_is_not_copied(tmp_path):
    "A thread does not survive a fork, and may hold a lock for ever."
    prelude = "import threading, time; threading.Thread(target=time.sleep, args=(600,), daemon=True).start()"
    found = measured(tmp_path, LOOKS, LOOKS, prelude=prelude)
    assert found["records"] == ["ok", "ok"] and found["started"] == 2


def test_what_needs_a_new_process():
    assert [needs_new_process(Spec(model="x", **more)) for more in ({}, dict(compile="eager"), dict(digest="0"))] == [False, True, True]


def test_a_library_that_is_not_loaded_was_not_started():
    assert driver_started("libno_such_driver.so.1") is False
    assert driver_started("libc.so.6") is True  # not a driver, so nothing is known of it


def test_only_a_runner_that_knows_its_models_begins_early():
    started = []
    start = lambda: started.append(1)
    Runner(start=start).begin_early()
    assert started == []
    Runner(start=start, models=["lstm"]).begin_early()
    assert started == [1]
