"The half width holds the true mean of made traces, and the benchmark that checks it can fail."

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).resolve().parent.parent / "benchmarks" / "coverage.py"


def coverage(tmp_path, traces):
    "Return exit code and figures of the benchmark on these traces."
    file = tmp_path / "traces.jsonl"
    file.write_text("".join(json.dumps(t) + "\n" for t in traces))
    done = subprocess.run([sys.executable, BENCHMARK, file], capture_output=True, text=True, timeout=300)
    assert not done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout.splitlines()[-1])


def trace(name, n=2000, ms=20.0, sigma=0.01, drift=0.0, slow=0, true=20.0):
    rng = random.Random(name)
    steps = [ms * rng.gauss(1, sigma) * (1 + drift * i / n) * (3 if i < slow else 1) for i in range(n)]
    return dict(id=name, step_ms=steps, true_ms=true)


def test_steady_traces_are_covered_and_cheap(tmp_path):
    code, found = coverage(tmp_path, [trace(f"flat-{i}", slow=i % 31) for i in range(60)])
    assert code == 0 and found["covered"] >= 0.93 and found["error_median"] < 0.002
    assert found["seconds_mean"] < 10 < found["a"]["seconds_mean"]
    assert {"id", "mean_ms", "half_ms", "covered", "error", "seconds", "steady", "flagged"} <= found["by_trace"][0].keys()


def test_a_wrong_mean_is_not_covered(tmp_path):
    code, found = coverage(tmp_path, [trace(f"flat-{i}", true=21.0) for i in range(10)])
    assert (code, found["covered"]) == (1, 0.0)


def test_drift_is_flagged(tmp_path):
    code, found = coverage(tmp_path, [trace(f"drift-{i}", drift=0.2, true=None) for i in range(10)])
    assert (code, found["missed_drifts"], found["flagged_drifts"]) == (0, [], 10)


def test_a_short_trace_is_measured_to_its_end(tmp_path):
    code, found = coverage(tmp_path, [trace("short", n=60)])
    (row,) = found["by_trace"]
    assert 0.9 < row["mean_ms"] / 20 < 1.1 and not row["steady"]


def test_a_trace_that_ends_before_anything_was_timed_is_listed(tmp_path):
    code, found = coverage(tmp_path, [trace("flat"), trace("stub", n=3)])
    assert (found["too_short"], found["covered"], len(found["by_trace"])) == (["stub"], 1.0, 2)


WRONG = {
    "": "there is no trace",
    '{"id": "a", "step_ms": [1,': "line 1: it is not JSON",
    "[1, 2]": "it is no object",
    '{"step_ms": [1]}': "no `id`",
    '{"id": "a", "step_ms": ["1"], "true_ms": 1}': "`step_ms`",
    '{"id": "a", "step_ms": [1], "true_ms": 0}': "`true_ms`",
}


@pytest.mark.parametrize("line, words", WRONG.items())
def test_a_line_that_is_no_trace_is_a_one_line_error(line, words, tmp_path):
    (tmp_path / "x.jsonl").write_text(line)
    done = subprocess.run([sys.executable, BENCHMARK, tmp_path / "x.jsonl"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1) and words in done.stderr
