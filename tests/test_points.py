"The fields of a record besides its throughput: findings, passes, soak, sensors, price. The children are real; their models are toys."

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ready_steady_go.box.price import SECRET_VARIABLES
from ready_steady_go.run.campaign import run
from ready_steady_go.run.request import Request
from ready_steady_go.run.screen import Screen
from ready_steady_go.run.supervise import Child, Runner
from ready_steady_go.spec.options import RunOptions
from ready_steady_go.spec.spec import Spec
from ready_steady_go.store.journal import Journal
from ready_steady_go.store.record import Record

ROOT = Path(__file__).resolve().parent.parent
COMPILER = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
KEY = "planted-key-8c1f7e"

# A bench whose family builds a small model with a loss of our choice.
CHILD = """
import time
from types import SimpleNamespace
import torch
from torch import nn
from ready_steady_go.run import bench, child
from ready_steady_go.training.workload import Workload

steps = 0
def loss(out, y):
    global steps
    steps += 1
    {loss}

def build(spec, device):
    return Workload(nn.Linear(500, 500), lambda bs: (torch.randn(bs, 500), torch.zeros(bs)), loss)

bench.Bench.check = lambda self, spec: bench.replace(spec, family="timm", size=32)
bench.load_family = lambda name: SimpleNamespace(build=build)
bench.forward_flops = lambda spec, **more: 1000
bench.cpu_cores = lambda: 1  # on a busy machine several threads wait for each other

class Virtual:
    "A clock that only a loss moves."
    ahead, now = 0, 0.0
    def mark(self): return Virtual.now
    def seconds(self, a, b): return b - a

if "Virtual" in {loss!r}: bench.make_clock = lambda device: Virtual()
child.main()
"""


def measured(tmp_path, capfd, loss, **limits):
    "Return exit code, records and output of a run with this loss."
    child = lambda: Child((sys.executable, "-c", CHILD.format(loss=loss)))
    request = Request([Spec(model="mine")], RunOptions(bs=[4], device="cpu", out=str(tmp_path / "x.jsonl"), wandb="off", **limits))
    code = run([request], Screen(), time.monotonic(), Runner("cpu", child))
    return code, Journal(tmp_path / "x.jsonl").read(), capfd.readouterr()


def codes(record):
    "Return the codes of the findings, without the one that other tests at the same time cause."
    return [f["code"] for f in record.findings or [] if f["code"] != "cores_shared"]


def test_a_loss_that_becomes_nan_is_a_failure(tmp_path, capfd):
    code, (record,), output = measured(tmp_path, capfd, "return out.square().mean() * (1.0 if steps < 50 else float('nan'))", n_batches=200)
    assert (code, record.outcome, record.throughput, codes(record)) == (1, "failed:nonfinite", None, ["nonfinite"])
    assert "failed: nonfinite" in output.out and "the loss is nan" in output.err


def test_a_host_that_sleeps_is_a_finding(tmp_path, capfd):
    code, (record,), output = measured(tmp_path, capfd, "time.sleep(0.02); return out.square().mean()", n_seconds=2)
    assert (code, record.outcome) == (0, "ok")
    assert record.busy < 0.85 and "host_bound" in codes(record)
    assert "host-bound" in output.err and "busy" in output.out


def test_a_finite_loss_is_no_finding(tmp_path, capfd):
    code, (record,), output = measured(tmp_path, capfd, "return out.square().mean()", n_batches=200)
    assert (code, record.outcome) == (0, "ok") and "nonfinite" not in codes(record)


def test_drift_is_a_finding_that_names_soak(tmp_path, capfd):
    slower = "Virtual.now += 0.005 * (1 + steps / 4000); return out.square().mean()"
    code, (record,), output = measured(tmp_path, capfd, slower, n_seconds=4)
    assert (record.steady, record.drift > 0.05, "drift" in codes(record)) == (False, True, True)
    assert "steps became" in output.err and "--soak" in output.err
    times = [ms / n for n, ms in record.windows]
    mean = sum(times) / len(times)
    assert record.throughput_ci95 / record.throughput <= 1.001 * max(abs(t / mean - 1) for t in times)


def test_nothing_of_the_passes_is_in_the_timed_part(monkeypatch):
    from ready_steady_go.run import bench as bench_module

    happened = []

    class Clock:
        ahead = 0
        def mark(self): happened.append("mark"); return time.perf_counter()
        def seconds(self, a, b): return b - a

    class Region(bench_module.TimedRegion):
        def __enter__(self): super().__enter__(); happened.append("timed")
        def __exit__(self, *error): happened.append("done"); super().__exit__(*error)

    inner = bench_module.run_passes
    monkeypatch.setattr(bench_module, "make_clock", lambda device: Clock())
    monkeypatch.setattr(bench_module, "TimedRegion", Region)
    monkeypatch.setattr(bench_module, "run_passes", lambda *args: happened.append("passes") or inner(*args))
    monkeypatch.setattr(bench_module, "nonfinite_finding", lambda step: happened.append("trouble"))
    bench = bench_module.Bench("cpu")
    bench.point(bench.check(Spec(model="test_resnet", bs=2)), n_seconds=1)
    timed = happened[happened.index("timed") + 1 : happened.index("done")]
    assert len(timed) > 3 and set(timed) == {"mark"}
    assert happened.count("passes") == 1 and happened.index("passes") > happened.index("done")


def test_passes_that_fail_keep_the_throughput(monkeypatch):
    from ready_steady_go.run import bench as bench_module

    monkeypatch.setattr(bench_module, "run_passes", lambda *args: 1 / 0)
    bench = bench_module.Bench("cpu")
    record = bench.point(bench.check(Spec(model="test_resnet", bs=2)), n_batches=5)
    assert (record.outcome, record.throughput > 0, "passes_failed" in codes(record)) == ("ok", True, True)


def test_a_brief_point_has_no_energy(monkeypatch):
    "The counter of a GPU steps every 20 to 100 ms, so over 0.2 s it is off by up to half."
    from ready_steady_go.run import bench as bench_module

    class Meter:
        def __init__(self, gpu): self.gpu = gpu
        def start(self): pass
        def stop(self): return (5.0, "counter") if self.gpu else (None, None)

    monkeypatch.setattr(bench_module, "EnergyMeter", Meter)
    bench = bench_module.Bench("cpu")
    bench.gpu = "a GPU"
    spec = bench.check(Spec(model="test_resnet", bs=2))
    assert [bench.point(spec, n_batches=2, brief=brief).energy_j for brief in (False, True)] == [5.0, None]


def rsg(*args, cwd, **env):
    "Run rsg to its end."
    command = [sys.executable, "-m", "ready_steady_go", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300, env=os.environ | env)


TINY = ["--model", "test_resnet", "--device", "cpu", "--bs", "2"]


def records(folder):
    return [Record(**json.loads(line)) for line in (folder / "rsg-results.jsonl").read_text().splitlines()]


def test_a_soak_follows_the_best_point_and_is_not_repeated(tmp_path):
    done = rsg(*TINY, "--n-batches", 5, "--soak", "3s", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    point, soak = records(tmp_path)
    assert (point.search, soak.search, soak.soak, soak.flat, soak.bs) == ("given", "soak", 3.0, False, 2)
    assert soak.soak_s >= 3 and soak.burst_throughput > 0 and soak.throughput == soak.sustained_throughput
    assert "soak: " in done.stdout and "not flat yet" in done.stdout
    again = rsg(*TINY, "--n-batches", 5, "--soak", "3s", cwd=tmp_path)
    assert again.returncode == 0 and len(records(tmp_path)) == 2 and "the soak is in the journal" in again.stderr


@pytest.mark.parametrize("mode", ["infer", "forward"])
def test_modes_are_measured_and_kept_apart(mode, tmp_path):
    for args in ([], ["--mode", mode]): assert rsg(*TINY, *args, "--n-seconds", "0.5", "--quiet", cwd=tmp_path).returncode == 0
    train, other = records(tmp_path)
    assert (train.mode, other.mode, train.key != other.key, other.backward_ms) == ("train", mode, True, None)
    assert other.throughput > 0


class Provider(BaseHTTPRequestHandler):
    "vast.ai's record of one box, for everyone who has the key."

    def do_GET(self):
        self.server.asked.append(self.headers["Authorization"])
        body = json.dumps(dict(instances=dict(dph_total=0.4, num_gpus=1, is_bid=True))).encode()
        self.send_response(self.server.code)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args): pass


@pytest.fixture(params=[200, 401])
def provider(request):
    "Yield a provider that answers with this status."
    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    server.asked, server.code = [], request.param
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()


def test_the_price_is_in_table_record_and_best_row_and_the_key_is_nowhere(provider, tmp_path):
    env = dict(CONTAINER_ID="77", CONTAINER_API_KEY=KEY, RSG_VAST_URL=f"http://127.0.0.1:{provider.server_port}/api/v0")
    done = rsg(*TINY, "--n-batches", 5, cwd=tmp_path, **env)
    assert done.returncode == 0, done.stderr
    assert provider.asked == [f"Bearer {KEY}"]
    (record,) = records(tmp_path)
    known = provider.code == 200
    assert (record.usd_per_hour, record.usd_from, record.usd_kind) == ((0.4, "vast.ai", "spot") if known else (None, None, None))
    if known: assert record.usd_per_msample == pytest.approx(0.4 / 3600 / record.throughput * 1e6, rel=1e-5)
    assert ("$0.4 an hour spot, vast.ai" in done.stdout) == ("$/M" in done.stdout) == ("for a million samples" in done.stdout) == known
    assert ("401" in done.stderr) != known
    everything = done.stdout + done.stderr + "".join(p.read_text(errors="replace") for p in tmp_path.rglob("*") if p.is_file())
    assert KEY not in everything


def test_a_typed_price_comes_first(tmp_path):
    env = dict(CONTAINER_ID="77", CONTAINER_API_KEY=KEY)
    assert rsg(*TINY, "--n-batches", 5, "--usd-per-hour", "0.35", cwd=tmp_path, **env).returncode == 0
    assert records(tmp_path)[0].usd_from == "typed"


@pytest.mark.parametrize("package", ["there", "broken"])
def test_wandb_that_is_down_or_broken_prints_one_line(package, tmp_path):
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb/__init__.py").write_text("raise ImportError('a broken install')")
    env = dict(WANDB_API_KEY=KEY * 3, WANDB_BASE_URL="http://127.0.0.1:9")
    if package == "broken": env["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{ROOT}"
    (tmp_path / "here").mkdir()
    done = rsg(*TINY, "--n-batches", 5, "--project", "p", cwd=tmp_path / "here", **env)
    assert (done.returncode, len(records(tmp_path / "here"))) == (0, 1), done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "W&B" in line]
    assert "rsg push --project p rsg-results.jsonl" in line
    assert KEY not in done.stdout + done.stderr


def test_a_child_sees_no_key(monkeypatch):
    for name in SECRET_VARIABLES: monkeypatch.setenv(name, KEY)
    child = Child((sys.executable, "-c", "import json, os; input(); print(json.dumps(dict(id=1, event='env', env=dict(os.environ))))"))
    answer = child.ask({})
    child.end()
    assert answer["env"] and KEY not in json.dumps(answer)


BOXES = {"healthy": ("", []), "hot": ("limit=250000 reasons=0x24", ["power_limit", "throttle_thermal"])}

# The parent watches a fake GPU while a scripted child works on it.
WATCHED = """
import sys, time
from ready_steady_go.run.campaign import run
from ready_steady_go.run.request import Request
from ready_steady_go.run.screen import Screen
from ready_steady_go.spec.options import RunOptions
from ready_steady_go.spec.spec import Spec
from ready_steady_go.run.supervise import Child, Runner

CHILD = '''
import json, sys, time
def send(**answer): print(json.dumps(dict(answer, id=question["id"])), flush=True)
for line in sys.stdin:
    question = json.loads(line)
    if question["do"] == "check":
        specs = [dict(s, family="timm", size=224) for s in question["specs"]]
        send(event="checked", specs=specs, machine=dict(device="cuda", device_name="Toy GPU", pci_id="00000000:01:00.0"))
    else:
        time.sleep(3.3)
        send(event="record", record=dict(model="toy", bs=8, device_name="Toy GPU", outcome="ok", throughput=100.0, step_ms=80.0))
'''
request = Request([Spec(model="toy")], RunOptions(bs=[8], out="x.jsonl", wandb="off"))
sys.exit(run([request], Screen(), time.monotonic(), Runner(None, lambda: Child((sys.executable, "-c", CHILD)))))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the fake library is found by the loader of Linux")
@pytest.mark.skipif(COMPILER is None, reason="no C compiler to build the fake libnvidia-ml.so.1 with")
@pytest.mark.parametrize("box,found", BOXES.values(), ids=BOXES.keys())
def test_the_parent_watches_while_the_child_works(box, found, tmp_path):
    subprocess.run([COMPILER, "-shared", "-fPIC", "-o", tmp_path / "libnvidia-ml.so.1", ROOT / "tests/fake_nvml.c"], check=True)
    env = os.environ | dict(LD_LIBRARY_PATH=str(tmp_path), FAKE_NVML_0=box, PYTHONPATH=str(ROOT))
    done = subprocess.run([sys.executable, "-c", WATCHED], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (record,) = Journal(tmp_path / "x.jsonl").read()
    assert [code for code in codes(record) if code != "few_cores"] == found
    assert record.power_limit_default_w == 350.0 and record.temperature_c and record.sm_clock_mhz and record.power_w
    for f in record.findings: assert f["text"][:40] in done.stderr
    assert ("thermal" in (record.throttle or {})) == ("throttle_thermal" in found)


@pytest.mark.parametrize("hip", [None, "6.2"])
def test_a_slow_first_step_on_rocm_is_no_hang(monkeypatch, hip):
    "MIOpen compiles its kernels for minutes in silence; elsewhere a silence is a hang. Its autotuning is off, and recorded so."
    import torch

    from ready_steady_go.run import bench as bench_module

    monkeypatch.setattr(torch.version, "hip", hip)
    phases, slow, inner = [], [1.3], bench_module.measure

    def measure_slowly(step, *args, **more):
        def first_is_slow():
            if slow: time.sleep(slow.pop())
            step()

        return inner(first_is_slow, *args, **more)

    monkeypatch.setattr(bench_module, "measure", measure_slowly)
    bench = bench_module.Bench("cpu")
    spec = bench.check(Spec(model="lstm", vocab=9, emb_dim=4, hid_dim=4, seq_len=2, bs=2))
    record = bench.point(spec, n_batches=3, brief=True, progress=lambda phase, m: phases.append((phase, time.monotonic())))
    times = [at for phase, at in phases if phase == "steady"]
    silences = [b - a for a, b in zip(times, times[1:])]
    assert record.ok and record.first_step_s >= 1.3 and record.cudnn_benchmark is (hip is None)
    assert (silences[0] >= 1.3) == (hip is None)
