"Whole runs with real children: output, journal and exit code."

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from ready_steady_go.spec.options import PRECISIONS
from ready_steady_go.store.record import Record

TINY = ["--model", "test_resnet", "--device", "cpu"]


def command(*args):
    "Return the command line of a run."
    return [sys.executable, "-m", "ready_steady_go", *map(str, args)]


def rsg(*args, cwd):
    "Run a command to its end."
    return subprocess.run(command(*args), capture_output=True, text=True, cwd=cwd, timeout=300)


def records(folder):
    "Return the journal's records. Every line must be whole."
    path = folder / "rsg-results.jsonl"
    return [Record(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_table_and_a_journal(tmp_path):
    done = rsg(*TINY, "--bs", "2,4", "--n-batches", "3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^ +(\d+) +([\d.]+)(?: ± ([\d.]+))? ", done.stdout, flags=re.M)
    assert [int(bs) for bs, *_ in rows] == [2, 4]
    kept = records(tmp_path)
    assert [(r.bs, r.n_items, r.outcome, r.n_batches, r.size) for r in kept] == [(2, 6, "ok", 3, 160), (4, 12, "ok", 3, 160)]
    assert "* test_resnet fp32, 160 px:" in done.stdout
    assert len({r.key for r in kept}) == 1 and len({r.id for r in kept}) == 2
    for r in kept:
        assert r.throughput == pytest.approx(r.n_items / r.duration, rel=1e-5)
        assert sum(n for n, _ in r.windows) == 3 and sum(t for _, t in r.windows) == pytest.approx(r.duration * 1e3, rel=1e-5)
        assert (r.tf32_matmul, r.tf32_conv, r.mfu, r.energy_j, r.plausible) == (False, False, None, None, None)
    assert "\r" not in done.stderr  # a pipe gets plain lines only


@pytest.mark.parametrize("precision", [p for p in PRECISIONS if p != "tf32"])
def test_every_precision_that_a_cpu_has(precision, tmp_path):
    done = rsg(*TINY, f"--{precision}", "--bs", "2", "--n-batches", "2", "--json", "--quiet", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    row = json.loads(done.stdout)
    assert (row["precision"], row["fp16"], row["outcome"]) == (precision, precision == "fp16", "ok")


def test_a_search_stays_in_its_budget_and_always_has_a_first_point(tmp_path):
    done = rsg(*TINY, "--budget", "0.1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [(r.bs, r.outcome) for r in records(tmp_path)] == [(2, "ok")]
    assert "the budget would not last" in done.stderr


def test_a_batch_that_does_not_fit_is_an_answer(tmp_path):
    done = rsg(*TINY, "--bs", "2,100000000,200000000", "--n-batches", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [r.outcome for r in records(tmp_path)] == ["ok", "oom", "skipped:oom at a smaller batch size"]
    assert "does not fit" in done.stdout


def test_a_point_that_fails_is_recorded_and_the_next_one_runs(tmp_path):
    # BatchNorm cannot train on a single value per channel, which is what one small image leaves at the end of this network.
    done = rsg("--model", "regnetz_005", "--size", "32", "--bs", "1,2", "--n-batches", "1", "--device", "cpu", cwd=tmp_path)
    first, second = records(tmp_path)
    assert (done.returncode, first.outcome, second.outcome) == (1, "failed:ValueError", "ok"), done.stderr
    assert first.error == "batch norm needs two samples; use --bs 2 or more" and first.error in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("signum,code", [(signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_keeps_what_it_has(signum, code, tmp_path):
    run = subprocess.Popen(
        command(*TINY, "--bs", "2,4,8,16", "--n-seconds", "3"), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 200
    while len(records(tmp_path)) < 2 and time.monotonic() < deadline: time.sleep(0.05)
    run.send_signal(signum)
    out, err = run.communicate(timeout=200)
    assert (run.returncode, [r.bs for r in records(tmp_path)]) == (code, [2, 4]), err
    assert "* test_resnet fp32, 160 px:" in out and "Traceback" not in err
    assert children_of(run.pid) == []


def children_of(pid):
    "Return the children of a process; none on a system without /proc."
    if not os.path.isdir("/proc"): return []
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try: found += [name] if f" {pid} " in open(f"/proc/{name}/stat", encoding="utf-8").read().rpartition(")")[2][:20] else []
        except OSError: continue
    return found


def test_a_killed_parent_takes_its_child_along(tmp_path):
    nowhere = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    run = subprocess.Popen(command(*TINY, "--bs", "2,4", "--n-seconds", "60"), cwd=tmp_path, **nowhere)
    deadline = time.monotonic() + 100
    while not (children := children_of(run.pid)) and time.monotonic() < deadline: time.sleep(0.05)
    time.sleep(2)
    run.kill(), run.wait()
    deadline = time.monotonic() + 200
    while any(os.path.exists(f"/proc/{pid}") for pid in children) and time.monotonic() < deadline: time.sleep(0.05)
    assert children and not any(os.path.exists(f"/proc/{pid}") for pid in children)


def test_a_run_leaves_nothing_in_the_temporary_folder(tmp_path):
    "torch makes one folder for the cache of its compiler, which all its programs use."
    (tmp_path / "tmp").mkdir()
    env = {k: v for k, v in os.environ.items() if k not in ("HOME", "TORCHINDUCTOR_CACHE_DIR")} | dict(TMPDIR=str(tmp_path / "tmp"))
    for bs in 2, 4:
        args = command(*TINY, "--bs", bs, "--n-batches", "1")
        done = subprocess.run(args, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    assert [name for name in os.listdir(tmp_path / "tmp") if not name.startswith("torchinductor_")] == []


def test_a_closed_pipe_loses_no_result(tmp_path):
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    run = subprocess.Popen(command(*TINY, "--bs", "2,4", "--n-batches", "1"), cwd=tmp_path, **pipes)
    while not run.stdout.readline().strip().startswith("2 "): pass  # the first row
    run.stdout.close()
    _, err = run.communicate(timeout=200)
    assert "Traceback" not in err and run.returncode == 1
    assert records(tmp_path)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_disk_is_reported_and_nothing_is_overwritten(tmp_path):
    import resource

    (tmp_path / "rsg-results.jsonl").write_text('{"schema":1,"model":"resnet50"}\n')
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
    env = {k: v for k, v in os.environ.items() if not k.startswith("COV")}  # the coverage file would not fit either
    pipes = dict(cwd=tmp_path, env=env, capture_output=True, text=True, timeout=200)
    done = subprocess.run(command(*TINY, "--bs", "2,4", "--n-batches", "1"), preexec_fn=limit, **pipes)
    assert done.returncode == 1
    assert "rsg: cannot write the journal rsg-results.jsonl: No space left" in done.stderr and "Traceback" not in done.stderr
    assert (tmp_path / "rsg-results.jsonl").read_text() == '{"schema":1,"model":"resnet50"}\n'
