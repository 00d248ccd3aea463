"The real W&B client against a toy server on loopback: records arrive, nothing private does, and no failure takes long."

import gzip
import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
import time
from base64 import b64encode
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest
from wandb_server import KEY, serving

from ready_steady_go.box.machine import Machine
from ready_steady_go.commands.cli import main
from ready_steady_go.spec.options import RunOptions
from ready_steady_go.spec.spec import Spec
from ready_steady_go.store import wandb_client, wandb_sync
from ready_steady_go.store.journal import Journal
from ready_steady_go.store.record import Record, make_record, seal
from ready_steady_go.store.sinks import push_after_run
from ready_steady_go.store.wandb_runs import run_of
from ready_steady_go.store.wandb_sync import WandbProject, pull_command, pull_records, push_command, push_records, write_offline
from ready_steady_go.timing.measure import Measurement

pytest.importorskip("wandb", reason="wandb is not installed: pip install -e '.[dev]'")

GPU = Machine(device="cuda", device_name="Toy GPU 3000", gpu_mem=25_438_126_080, driver="550.54.15", pytorch="2.4.1+cu121", cuda="12.1")
SPEC = Spec(model="resnet50", family="timm", precision="fp16", size=224, changed="")
DEAD_S = 40  # what a dead server may cost in all


def point(bs=8, **more):
    "Return a record of a result."
    return make_record(replace(SPEC, bs=bs), GPU, Measurement(bs=bs, windows=[(10, 0.79 + i % 3 / 1e3) for i in range(12)]), **more)


def after_run(mode, journal, records, project=None):
    "Push the records of a run as `--wandb` with this mode and `--project` do."
    return push_after_run(RunOptions(wandb=mode, project=project), journal, records)


def push(records, project, **more):
    "Push records to a project."
    return push_records(records, WandbProject(project, **more))


def by_id(records):
    "Sort records by id."
    return sorted(records, key=lambda r: r.id)


def processes(home):
    "Yield environment and command line of each other process with this home."
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environ = (folder / "environ").read_bytes()
            if folder.name == str(os.getpid()) or f"HOME={home}\0".encode() not in environ: continue
            yield environ + (folder / "cmdline").read_bytes()
        except OSError: pass  # it has ended


@pytest.fixture
def server(request, monkeypatch, tmp_path):
    "A server that the environment names, with a key; a home without anything. No test takes long, and nothing that it started outlives it."
    with serving() as server:
        for name in [n for n in os.environ if n.startswith("WANDB")]: monkeypatch.delenv(name)
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("HOME", str(tmp_path))
        begun, most_s = time.monotonic(), DEAD_S if request.node.name != "test_ten_thousand_runs" else 300  # its server is alive
        yield server
        assert time.monotonic() - begun < most_s
        while left := list(processes(tmp_path)): assert time.monotonic() - begun < most_s, left


# Pushed and proven


def test_pushed_read_back_and_pushed_again(server):
    records = [point(8), point(16), make_record(replace(SPEC, bs=32), GPU, outcome="oom"), point(64, outcome="impossible", plausible=False)]
    first, again = push(records, "p"), push(records, "p")
    assert (first.pushed, first.proven, first.known, first.failed, first.skipped) == (3, 3, 0, [], 1)
    assert (again.pushed, again.proven, again.known, again.failed) == (0, 0, 3, [])
    runs = server.runs("toy", "p")
    assert {run["state"] for run in runs.values()} == {"finished"} and [run["history"] for run in runs.values()] == [1, 1, 1]
    run = runs[f"rsg-{records[0].id}"]
    assert (run["jobType"], run["group"], run["tags"]) == ("bench", records[0].key, ["Toy GPU 3000", "resnet50", "fp16"])
    assert {k: v["value"] for k, v in run["config"].items()}.items() >= dict(model="resnet50", device_name="Toy GPU 3000", size=224).items()
    assert first.urls[f"rsg-{records[0].id}"].startswith(server.url)
    assert by_id(pull_records("toy/p")) == by_id(records[:3])


def test_the_row_that_wandb_draws(server):
    dear = point(8, steady=True, usd_per_hour=0.5, usd_per_msample=1.5, mfu=0.3, peak_mem_bytes=10**9)
    probe = point(8, steady=False, search="probe")
    oom = make_record(replace(SPEC, bs=32), GPU, outcome="oom")
    push([dear, probe, oom], "p")
    rows = {id: run["rows"] for id, run in server.runs("toy", "p").items()}
    figures = dict(bs=8, throughput=dear.throughput, throughput_ci95=dear.throughput_ci95, peak_mem_bytes=10**9, mfu=0.3)
    figures |= dict(usd_per_msample=1.5)
    steady = dict(steady_throughput=dear.throughput, steady_usd_per_msample=1.5)
    (row,), (short,), (failed,) = (rows[f"rsg-{r.id}"] for r in (dear, probe, oom))
    assert row.items() >= (figures | steady).items() and row["_step"] == 0
    assert "steady_throughput" not in short and {name for name in failed if name[0] != "_"} == {"bs"}
    summary = server.runs("toy", "p")[f"rsg-{dear.id}"]["summaryMetrics"]
    assert summary.items() >= (figures | steady).items() and summary["throughput"] == dear.throughput


def test_a_run_has_one_row_however_often_it_is_sent(server, hasty, monkeypatch):
    monkeypatch.setattr(wandb_sync, "MAX_ATTEMPTS", 1)
    records = [point(8), point(16)]
    server.faults["summary"] = "lose"
    assert len(push(records, "p").failed) == 2
    server.faults.clear()
    assert push(records, "p").proven == 2
    assert [(run["upserts"] > 1, run["history"]) for run in server.runs("toy", "p").values()] == [(True, 1)] * 2


def test_names_that_the_user_gave(server):
    push([point()], "toy/p", group="night", run_name="my box", tags=("spot",))
    (run,) = server.runs("toy", "p").values()
    assert (run["group"], run["tags"][-1]) == ("night", "spot") and run["displayName"].startswith("my box resnet50 fp16")


CHANGED = dict(
    error="größer 模型 🤖 \"quoted\" \\", throttle={}, findings=[], drift=2.0, busy=1.0, usd_per_hour=1e18, energy_j=1e-99, mfu=None,
    windows=[[10, 790.0 + i] for i in range(9000)], gpu_mem=2**53 + 1, plausible=True,
)  # fmt: skip


def test_values_that_wandb_changes_come_back_as_they_are_in_the_journal(server, tmp_path):
    odd = make_record(replace(SPEC, bs=8, model="größe"), replace(GPU, device_name="Toy GPU ½"), ceiling_share=float("nan"))
    journal = Journal(tmp_path / "j.jsonl")
    journal.append(seal(replace(odd, **CHANGED)))
    assert not push(journal.read(), "p").failed
    out = tmp_path / "pulled.jsonl"
    assert pull_command("toy/p", str(out)) == 0
    assert Journal(out).read() == journal.read() and out.read_bytes() == journal.path.read_bytes()
    assert pull_command("toy/p", str(out)) == 0 and len(Journal(out).read()) == 1  # nothing is added twice


def test_numpy_scalars_arrive_as_plain_numbers(server):
    class Scalar:
        "As numpy's."
        def __init__(self, value): self.value = value
        def item(self): return self.value

    record = replace(point(), n_items=Scalar(640), busy=Scalar(0.5), mfu=float("inf"))
    assert not push([record], "p").failed
    (back,) = pull_records("toy/p")
    assert (back.n_items, back.busy, back.mfu) == (640, 0.5, None)


def test_two_pushers_at_once(server):
    records, results = [point(bs) for bs in range(1, 13)], []
    threads = [threading.Thread(target=lambda: results.append(push(records, "p"))) for _ in range(2)]
    for t in threads: t.start()
    for t in threads: t.join()
    assert [r.failed for r in results] == [[], []] and len(server.runs("toy", "p")) == 12
    assert len(list(pull_records("toy/p"))) == 12


def test_a_deleted_run_stays_deleted(server, hasty):
    records = [point(8), point(16)]
    server.deleted.add(("toy", "p", f"rsg-{records[0].id}"))
    for _ in range(2):
        result = push(records, "p")
        assert (result.deleted, result.failed) == ([f"rsg-{records[0].id}"], [])
    assert list(server.runs("toy", "p")) == [f"rsg-{records[1].id}"]


def test_a_run_that_an_earlier_version_pushed_is_known(server):
    record = point()
    row = dict(sorted(vars(record).items()))  # the same fields in another order
    line = json.dumps(row, separators=(",", ":"))
    server.put("toy", "p", f"rsg-{record.id}", summary={"rsg_digest": hashlib.sha256(line.encode()).hexdigest(), "rsg_line_0": line})
    assert (push([record], "p").known, push([point(16)], "p").pushed) == (1, 1)


# Runs of other programs


def test_the_originals_runs_become_records(server):
    theirs = dict(device_name="Toy GPU 1000", model="resnet18", bs=32, fp16=True, throughput=412.5, duration=10.01, n_items=4128)
    server.put("xl0", "rsg", "1ab2", summary=theirs | dict(pytorch="1.12.1", loss=0.5, n_seconds=10))
    server.put("xl0", "rsg", "2ab3", summary=dict(loss=1))
    server.put("xl0", "rsg", "3ab4", summary=theirs, state="crashed")
    left = []
    (record,) = pull_records("https://wandb.ai/xl0/rsg/workspace", left=left)
    assert {k: getattr(record, k) for k in theirs} == theirs and record.ok
    unknown = {f.name for f in fields(Record) if getattr(record, f.name) is None}
    assert {"rsg_version", "optimizer", "layout", "mode", "seed", "n_gpus", "family", "throughput_ci95", "plausible"} <= unknown
    assert [id for id, _ in left] == ["2ab3"]
    assert list(pull_records("xl0/rsg")) == [record]


def test_filters(server, tmp_path):
    push([point(8), make_record(replace(SPEC, bs=8, precision="bf16"), GPU)], "p", group="g")
    assert [r.precision for r in pull_records("toy/p", {"config.precision": "bf16"})] == ["bf16"]
    assert pull_command("toy/p", str(tmp_path / "j"), '{"config.model": "resnet50"}', group="g", tags=["fp16"]) == 0
    assert [r.precision for r in Journal(tmp_path / "j").read()] == ["fp16"]


def test_ten_thousand_runs(server, tmp_path, capsys):
    run = run_of(point())
    for i in range(10_000): server.put("toy", "many", f"r{i}", summary=dict(model="resnet50", bs=8, fp16=True, throughput=100.0 + i))
    server.put("toy", "many", run["id"], summary=run["summary"])
    assert pull_command("toy/many", str(tmp_path / "j")) == 0
    assert len(Journal(tmp_path / "j").read()) == 10_001 and server.requests.count("Runs") == 10_001 // wandb_client.PAGE_RUNS + 1
    assert capsys.readouterr().out == f"10,001 records in {tmp_path / 'j'}\n"


ORIGINALS_STEPS = """
import json
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
import wandb

short = {"Toy GPU 3000": "3000"}
found = wandb.Api().runs("toy/p")
table = pd.DataFrame.from_records([dict(run.summary) | dict(id=run.id) for run in found if run.state == "finished"])
table = table[["device_name", "model", "bs", "fp16", "throughput"]]
table["fp16"] = table["fp16"].apply(lambda half: "FP16" if half else "FP32")
table = table.replace(dict(device_name=short)).dropna()
best = table.loc[table.groupby(["device_name", "model", "fp16"])["throughput"].idxmax()].sort_values("throughput", ascending=False)
bars = {}
for model in table.model.unique():
    figure, ax = plt.subplots(figsize=(15, 6))
    for name, palette in (("FP16", "pastel"), ("FP32", "muted")):
        sns.set_color_codes(palette)
        rows = best.loc[best.fp16.eq(name) & best.model.eq(model)]
        sns.barplot(ax=ax, data=rows, x="throughput", y="device_name", label=name, color="b")
    ax.legend(ncol=2, loc="lower right", frameon=True)
    ax.set(ylabel=None, xlabel=None, title=model)
    figure.savefig(f"{model}.png")
    drawn = {legend: [bar.get_width() for bar in group] for legend, group in zip(ax.get_legend_handles_labels()[1], ax.containers)}
    bars[model] = [[tick.get_text() for tick in ax.get_yticklabels()], drawn]
print(json.dumps(dict(rows=table[["device_name", "model", "bs", "fp16"]].values.tolist(), bars=bars)))
"""


NOT_PLAIN = [
    dict(mode="infer"), dict(mode="forward"), dict(precision="bf16"), dict(precision="tf32"), dict(n_gpus=2), dict(grad_accum=2, clip=0.5),
    dict(clip=1.0), dict(checkpointing=True), dict(compile="inductor"), dict(cuda_graph=True), dict(layout="channels_last"),
    dict(precision="fp32", fused=False), dict(optimizer="adam", changed="optimizer"), dict(lr=0.1, changed="lr"),
    dict(size=96, changed="size"), dict(classes=10, changed="classes"), dict(channels=1, changed="channels"), dict(changed=None),
    dict(size=96, classes=10, changed="size classes"),
]  # fmt: skip
NOT_SURE = [dict(search="probe"), dict(search="refine"), dict(search="soak"), dict(steady=False), dict(steady=None), dict(plausible=False)]


def test_the_originals_table_and_bars_from_our_runs(server, tmp_path):
    def other(bs, more=(), **spec):
        measured = Measurement(bs=bs, windows=[(10, 0.01)] * 12)
        return make_record(replace(SPEC, bs=bs, **spec), GPU, measured, **(dict(steady=True) | dict(more)))

    slow, fast, fp32, vgg = point(8, steady=True), point(16, steady=True), other(8, precision="fp32"), other(8, model="vgg19")
    oom = make_record(replace(SPEC, bs=32), GPU, outcome="oom")
    rest = [other(512, **spec) for spec in NOT_PLAIN] + [other(512, more) for more in NOT_SURE]
    pushed = push([slow, fast, fp32, vgg, oom, *rest], "p")
    assert pushed.pushed == pushed.proven == 30 and not pushed.failed
    runs = server.runs("toy", "p")
    assert "grad-accum 2" in runs[f"rsg-{rest[5].id}"]["displayName"] and "clip 0.5" in runs[f"rsg-{rest[5].id}"]["displayName"]
    env = os.environ | dict(MPLBACKEND="Agg", MPLCONFIGDIR=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", ORIGINALS_STEPS], capture_output=True, text=True, cwd=tmp_path, env=env, timeout=300)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    rows = [("resnet50", 8, "FP16"), ("resnet50", 16, "FP16"), ("resnet50", 8, "FP32"), ("vgg19", 8, "FP16")]
    assert sorted(seen["rows"]) == sorted(["3000", *row] for row in rows)
    bars = dict(resnet50=dict(FP16=[fast.throughput], FP32=[fp32.throughput]), vgg19=dict(FP16=[vgg.throughput]))
    assert {model: drawn for model, (_, drawn) in seen["bars"].items()} == bars
    assert [labels for labels, _ in seen["bars"].values()] == [["3000"]] * 2
    assert all((tmp_path / f"{model}.png").stat().st_size > 5000 for model in bars)


# A server that fails


@pytest.fixture
def hasty(monkeypatch):
    "Fewer retries and shorter waits: the same outcomes, sooner."
    monkeypatch.setattr(wandb_client, "READ_BACK_S", (0, 0.2))
    monkeypatch.setattr(wandb_client, "ANSWER_S", 3.0)
    for module in (wandb_client, wandb_sync): monkeypatch.setattr(module, "SILENCE_S", 6.0)
    monkeypatch.setattr(wandb_sync, "QUIET_S", 7.0)
    few = {name: 1 for name in wandb_client.PATIENCE if "retry_max" in name}
    monkeypatch.setattr(wandb_client, "PATIENCE", wandb_client.PATIENCE | few)


ALWAYS = {"401": 401, "403": 403, "404": 404, "500": 500, "a dropped connection": "drop", "a black hole": "hang"}


@pytest.mark.parametrize("fault", ALWAYS.values(), ids=ALWAYS.keys())
def test_a_server_that_never_works(server, fault, hasty):
    server.faults["*"] = fault
    result = push([point(bs) for bs in range(1, 41)], "p")
    assert len(result.failed) == 40 and result.proven == 0
    assert server.url in result.failed[0][1] and KEY not in str(result)
    with pytest.raises(RuntimeError, match=server.url): list(pull_records("toy/p"))


def test_a_refused_connection(server):
    server.server_close(), server.shutdown()
    assert "refused" in push([point()], "p").failed[0][1]


def respond(handler, status=200, body=b"", **headers):
    "Send an answer of any kind."
    handler.send_response(status)
    for name, value in (headers | {"Content-Length": len(body)}).items(): handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def drip(handler):
    "Send an endless answer, a byte now and then."
    handler.close_connection = True
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while not handler.server.gone.wait(0.05):
        handler.wfile.write(b" ")
        handler.wfile.flush()


HOSTILE = {
    "too many requests": (lambda h: respond(h, 429, b"{}", Retry_After="86400"), "too many requests \\(429\\); try again later"),
    "a slow body": (drip, "not complete in time"),
    "a large body": (lambda h: respond(h, 200, b" " * 2**22), "its answer is too large"),
    "a bomb": (lambda h: respond(h, 200, gzip.compress(b" " * 2**24), Content_Encoding="gzip"), "does not answer"),
    "deep lists": (lambda h: respond(h, 200, b"[" * 100_000), "does not answer"),
    "a list": (lambda h: respond(h, 200, b"[1]"), "does not answer"),
    "no HTTP": (lambda h: h.wfile.write(b"hello\r\n\r\n"), "does not answer"),
}


@pytest.mark.parametrize("fault,words", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_answer_ends_in_one_line(server, fault, words, hasty, monkeypatch):
    monkeypatch.setattr(wandb_client, "ANSWER_S", 0.5 if fault is drip else 6.0)
    server.faults["*"] = fault
    ((_, why),) = push([point()], "p").failed
    assert re.search(words, why) and server.url in why and KEY not in why and "\n" not in why


MOVED = [*(("*", code) for code in (301, 302, 303, 307, 308)), ("UpsertBucket", 307), ("stream", 307), ("Runs", 307), ("Runs", 302)]


@pytest.mark.parametrize("operation,code", MOVED)
def test_a_redirect_does_not_get_the_key(server, operation, code, hasty):
    with serving() as other:
        other.keep = True
        moved = other.url.replace("127.0.0.1", "localhost")
        server.faults[operation] = lambda h: respond(h, code, Location=moved + h.path)
        result = push([point()], "p")
        if operation == "*":
            assert f"redirects to another address ({code})" in result.failed[0][1] and other.requests == []
        key = {KEY.encode(), b64encode(f"api:{KEY}".encode()).strip(b"=")}
        assert not any(form in request for form in key for request in other.seen), other.seen


LATER = [("UpsertBucket", "too many requests"), ("stream", "a bomb")]
LATER += [("Runs", name) for name in ("too many requests", "a slow body", "a bomb")]


@pytest.mark.parametrize("operation,name", LATER)
def test_a_hostile_answer_later_costs_no_record(server, operation, name, hasty):
    server.faults[operation] = HOSTILE[name][0]
    result = push([point()], "p")
    assert len(result.failed) == 1 and result.proven == 0 and "\n" not in result.failed[0][1]


IN_INIT = {"401": 401, "404": 404, "500": 500, "black hole": "hang"}


@pytest.mark.parametrize("fault", IN_INIT.values(), ids=IN_INIT.keys())
def test_a_server_that_accepts_no_runs(server, fault, hasty):
    server.faults["UpsertBucket"] = fault
    result = push([point(bs) for bs in range(1, 20)], "p")
    assert len(result.failed) == 19 and result.proven == 0 and "\n" not in result.failed[0][1]


def test_one_500(server, hasty):
    for name in ("UpsertBucket", "stream", "Runs", "Viewer"): server.faults[name] = [500]
    assert not push([point(8), point(16)], "p").failed


def test_a_slow_server(server):
    server.delay = 0.7
    assert push([point(8), point(16)], "p").proven == 2


def test_a_server_that_dies_in_the_middle(server, hasty):
    def die():
        while len(server.runs("toy", "p")) < 60: time.sleep(0.01)
        server.faults["*"] = "hang"

    threading.Thread(target=die, daemon=True).start()
    records = [point(bs) for bs in range(1, 200)]
    result = push(records, "p")
    assert len(result.failed) + result.proven == 199 and len(result.failed) > 100
    server.faults.clear(), server.gone.set()


def test_records_that_failed_are_pushed_later(server, hasty):
    server.faults["stream"] = 500
    records = [point(8), point(16)]
    assert len(push(records, "p").failed) == 2
    server.faults.clear()
    assert not push(records, "p").failed and by_id(pull_records("toy/p")) == by_id(records)
    assert [run["history"] for run in server.runs("toy", "p").values()] == [1, 1]


def test_a_lost_summary_behind_a_200(server, hasty):
    server.faults["summary"] = "lose"
    result = push([point()], "p")
    assert result.pushed == 1 and result.proven == 0
    assert result.failed[0][1] == "it was sent, but W&B does not have it whole"


# Private

MARKED = """
import os, socket, sys, json
sys.argv[1:] = ["--secret", "MARKER"]
socket.gethostname = lambda: "MARKER-host"
from ready_steady_go.store.journal import Journal
from ready_steady_go.store.wandb_sync import WandbProject, push_records
result = push_records(Journal(os.environ["JOURNAL"]).read(), WandbProject("p"))
print(json.dumps([result.proven, result.failed]))
"""


def test_nothing_of_the_host_reaches_the_server(server, tmp_path):
    server.keep = True
    (tmp_path / "sitecustomize.py").write_text("import socket; socket.gethostname = lambda: 'MARKER-host'\n")
    home = tmp_path / "MARKER-home" / "MARKER-work"
    home.mkdir(parents=True)
    git = ["git", "-C", str(home), "-c", "user.name=MARKER", "-c", "user.email=MARKER@example.invalid"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "remote", "add", "origin", "https://MARKER@example.invalid/MARKER.git"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "MARKER"], check=True)
    (home / "wandb").mkdir()
    (home / "wandb" / "settings").write_text("[default]\nnotes = MARKER\n")
    (home.parent / ".config" / "wandb").mkdir(parents=True)
    (home.parent / ".config" / "wandb" / "settings").write_text("[default]\nnotes = MARKER\nsave_code = true\n")
    journal = Journal(home / "j.jsonl")
    journal.append(point())
    names = "NOTES HOST USERNAME USER_EMAIL PROGRAM NAME RUN_GROUP TAGS RUN_ID GIT_REMOTE_URL GIT_COMMIT JOB_NAME ENTITY PROJECT SWEEP_ID"
    env = {f"WANDB_{name}": "MARKER" for name in names.split()}
    more = "NOTEBOOK_NAME DOCKER IMAGE LAUNCH CODE_DIR ARTIFACT_DIR X_EXTRA_HTTP_HEADERS _EXTRA_HTTP_HEADERS JOB_TYPE RESUME TEAM"
    env |= {f"WANDB_{name}": "MARKER" for name in more.split()}
    env |= dict.fromkeys(("USER", "LOGNAME", "HOSTNAME", "EMAIL", "MY_SECRET", "JPY_SESSION_NAME", "COLAB_NOTEBOOK_ID"), "MARKER")
    env |= dict.fromkeys(("SLURM_JOB_ID", "SLURM_JOB_NAME", "GITHUB_REPOSITORY", "KUBERNETES_SERVICE_HOST", "CONTAINER_API_KEY"), "MARKER")
    env |= dict(WANDB_SAVE_CODE="true", WANDB_CONSOLE="wrap", WANDB_MODE="offline", HOME=str(home.parent), TMPDIR=str(home))
    env |= dict(JOURNAL=str(journal.path), PYTHONPATH=os.pathsep.join([str(tmp_path), *filter(None, sys.path)]))
    command = [sys.executable, "-c", MARKED, "MARKER"]
    done = subprocess.run(command, env=os.environ | env, cwd=home, capture_output=True, text=True, timeout=300)
    assert json.loads(done.stdout) == [1, []], done.stderr
    seen = b"".join(server.seen)
    assert b"rsg_line" in seen and b"MARKER" not in seen
    assert KEY.encode() not in seen
    assert b"PUT /" not in seen and b"wandb-metadata" not in seen  # no file is uploaded
    assert f'"{os.uname().nodename}"'.encode() not in seen  # quoted: a name of two letters is part of many words
    assert [p.name for p in home.iterdir() if p.name.startswith("rsg-")] == []  # the scratch folder is gone


def test_the_key_is_in_no_environment_and_on_no_command_line(server, monkeypatch):
    seen, start = [], subprocess.Popen.__init__

    def spy(self, command, *args, env=None, **more):
        seen.append((command, env))
        start(self, command, *args, env=env, **more)

    monkeypatch.setattr(subprocess.Popen, "__init__", spy)
    server.delay = 0.2
    found = []

    def look():
        while not server.gone.is_set(): found.extend(processes(os.environ["HOME"]))

    threading.Thread(target=look, daemon=True).start()
    push([point()], "p")
    assert seen and KEY not in str(seen)
    assert any(b"wandb-core" in text for text in found) and not any(KEY.encode() in text for text in found)


# The variables of W&B, and a saved view


def test_the_variables_name_project_entity_group_and_mode(server, tmp_path, monkeypatch, capsys):
    from ready_steady_go.run.request import Request

    journal = Journal(tmp_path / "j.jsonl")
    journal.append(point())
    variables = dict(PROJECT="gpus", ENTITY="team", RUN_GROUP="night", MODE="offline")
    for name, value in variables.items(): monkeypatch.setenv(f"WANDB_{name}", value)
    assert push_command([str(journal.path)], None) == 0  # what is typed is done: `rsg push` sends in any mode
    (run,) = server.runs("team", "gpus").values()
    assert run["group"] == "night"
    assert push_command([str(journal.path)], "toy/mine") == 0 and len(server.runs("toy", "mine")) == 1
    assert pull_command("gpus", str(tmp_path / "pulled.jsonl")) == 0 and Journal(tmp_path / "pulled.jsonl").read() == journal.read()
    options = Request.from_options(dict(model="resnet18")).options
    assert (options.wandb, options.project, options.entity, options.group) == ("offline", "gpus", "team", "night")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert Request.from_options(dict(model="resnet18")).options.wandb == "off"
    assert Request.from_options(dict(model="resnet18", wandb="auto", project="p")).options.project == "p"
    monkeypatch.setenv("WANDB_MODE", "sometimes")
    with pytest.raises(SystemExit): main(["--model", "resnet18"])
    assert capsys.readouterr().err == "rsg: WANDB_MODE=sometimes: expected online, offline or disabled; change it, or add --wandb\n"


def test_a_view_without_its_package(server, tmp_path, monkeypatch, capsys):
    journal, find = Journal(tmp_path / "j.jsonl"), importlib.util.find_spec
    journal.append(point())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "wandb_workspaces" else find(name, *more))
    with pytest.raises(SystemExit) as left: main(["push", "--project", "p", "--workspace", str(journal.path)])
    words = "rsg: --workspace: wandb-workspaces is not installed; run pip install 'wandb-workspaces>=0.4.13,<0.5'\n"
    assert (left.value.code, capsys.readouterr().err) == (1, words) and server.requests == []


def test_a_saved_view(server, tmp_path, capsys):
    pytest.importorskip("wandb_workspaces", reason="wandb-workspaces is not installed: pip install -e '.[workspace]'")
    journal = Journal(tmp_path / "j.jsonl")
    journal.append(point(steady=True))
    for _ in range(2): assert push_command([str(journal.path)], "p", workspace=True) == 0
    ((where, view),) = server.views.items()  # the second time changes the first view
    assert where == ("toy", "p", "nw-rsgbestbatch-v") and view["displayName"] == "rsg: best batches"
    shown = capsys.readouterr().out
    assert shown.count(f"view: {server.url}/toy/p?nw=rsgbestbatch\n") == 2
    panels = [panel for section in json.loads(view["spec"])["section"]["panelBankConfig"]["sections"] for panel in section["panels"]]
    assert [panel["viewType"] for panel in panels] == ["Bar Chart", "Scatter Plot", "Scatter Plot", "Bar Chart", "Scatter Plot"]
    assert panels[0]["config"]["metrics"] == ["steady_throughput"] and "label_device" in json.dumps(panels[0])
    run = server.runs("toy", "p")[f"rsg-{journal.read()[0].id}"]
    assert "steady_throughput" in run["summaryMetrics"] and "label_device" in run["config"] and server.requests.count("UpsertView2") == 2
    server.faults["UpsertView2"] = 403
    with pytest.raises(RuntimeError, match="^--workspace: toy/p: .*does not let this key"):
        push_command([str(journal.path)], "p", workspace=True)


# Without a key, a network, a package


@pytest.fixture
def no_wandb(tmp_path, monkeypatch):
    "An import of wandb that fails."
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "wandb.py").write_text("raise ImportError('libwandb.so: cannot open')")
    monkeypatch.syspath_prepend(folder)


def test_an_import_that_fails(server, no_wandb, capsys, tmp_path):
    line = after_run("online", "j.jsonl", [point()], "p")
    assert "wandb cannot be imported (libwandb.so: cannot open)" in line and "\n" not in line
    assert "rsg push --project p j.jsonl" in line


def test_no_package(server, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "wandb is not installed; run pip install" in after_run("online", "j.jsonl", [point()], "p")


def test_no_key(server, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY")
    assert "there is no key for W&B; run wandb login" in push([point()], "p").failed[0][1]
    assert after_run("auto", "j.jsonl", [point()], "p").startswith("not pushed to W&B; to push now or from another machine: rsg push")
    assert server.requests == []


def test_a_key_in_netrc(server, monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_API_KEY")
    (tmp_path / ".netrc").write_text(f"machine 127.0.0.1:{server.server_port}\n  login user\n  password {KEY}\n")
    (tmp_path / ".netrc").chmod(0o600)
    line = after_run("auto", "j.jsonl", [point()], "p")
    assert line.startswith("W&B: 1 pushed, 1 proven") and server.url in line
    monkeypatch.delenv("WANDB_BASE_URL")
    assert not wandb_client.has_key()  # that key is for another server
    (tmp_path / ".netrc").write_text(f"machine api.wandb.ai\n  login user\n  password {KEY}\n")
    assert wandb_client.has_key()


def test_the_line_at_the_end_of_a_benchmark(server, hasty):
    records = [point()]
    assert after_run("off", "j", records, "p") == ""
    assert "rsg push --project NAME j" in after_run("auto", "j", records)
    assert after_run("online", "j", records, "p").startswith("W&B: 1 pushed, 1 proven")
    server.faults["*"] = 500
    assert "1 failed" in after_run("auto", "j", [point(16)], "p")


# The commands


def test_the_command_that_pushes(server, hasty, tmp_path, capsys):
    journal = Journal(tmp_path / "j.jsonl")
    for bs in (8, 16): journal.append(point(bs))
    server.faults["summary"] = "lose"
    assert push_command([str(journal.path)], "p", tags=["x"]) == 1
    shown = capsys.readouterr()
    assert shown.out.startswith("2 pushed, 0 proven, 2 failed: it was sent")
    assert shown.err == f"try again: rsg push --project p --tag x {journal.path}\n"
    server.faults.clear()
    assert push_command([str(journal.path)], "p") == 0
    assert capsys.readouterr().out.startswith("2 pushed, 2 proven\nhttp")
    assert push_command([str(journal.path)], "p") == 0
    assert capsys.readouterr().out == "0 pushed, 0 proven, 2 there before\n"


MISTAKES = {
    "no journal": (["push", "--project", "p"], 2, "rsg-results.jsonl: there is no such file; name a journal, or measure first"),
    "a folder": (["push", "--project", "p", "."], 2, ".: it is a folder; name a journal in it"),
    "no project": (["push", "j.jsonl"], 2, "no W&B project given: add --project NAME"),
    "a long path": (["push", "--project", "a/b/c", "j.jsonl"], 2, "--project a/b/c: expected a project, or entity/project"),
    "an entity's path": (["push", "--project", "p", "--entity", "a/b", "j.jsonl"], 2, "--entity a/b: expected a W&B user or team"),
    "no journal either": (["push", "--project", "p", "notes.txt"], 2, "notes.txt: line 1 is not a record"),
    "an open brace": (["pull", "toy/p", "--filter", "{bad"], 2, "--filter {bad: expected JSON"),
    "a list": (["pull", "toy/p", "--filter", "[1]"], 2, "--filter [1]: expected JSON"),
    "into something else": (["pull", "toy/p", "--out", "notes.txt"], 2, "--out notes.txt: line 1 is not a record"),
    "into nowhere": (["pull", "toy/p", "--out", "no/such.jsonl"], 2, "--out no/such.jsonl: there is no folder no"),
    "from nowhere": (["pull", ""], 2, "pull: no W&B project given; name one as entity/project"),
    "from too deep": (["pull", "a/b/c/d"], 2, "pull a/b/c/d: expected a project, or entity/project"),
}


@pytest.mark.parametrize("args,code,words", MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_answered_in_one_line_without_a_server(server, tmp_path, monkeypatch, capsys, args, code, words):
    monkeypatch.chdir(tmp_path)
    Journal("j.jsonl").append(point())
    Path("notes.txt").write_text("milk\n", encoding="utf-8")
    with pytest.raises(SystemExit) as left: main(args)
    shown = capsys.readouterr()
    assert (left.value.code, shown.out, shown.err.count("\n")) == (code, "", 1) and shown.err.startswith("rsg: ")
    assert words in shown.err and server.requests == [] and Path("notes.txt").read_text(encoding="utf-8") == "milk\n"


def test_names_with_spaces_and_a_journal_without_records(server, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("empty.jsonl").touch(), Journal("j.jsonl").append(point())
    assert push_command(["empty.jsonl"], "p") == 0 and capsys.readouterr().out == "nothing to push: empty.jsonl has no records\n"
    assert push_command(["j.jsonl"], "my project") == 0 and len(list(pull_records("toy/my project"))) == 1
    monkeypatch.setenv("WANDB_BASE_URL", "nonsense")
    assert push_command(["j.jsonl"], "p") == 1 and "nonsense: it is not an address; set WANDB_BASE_URL to one" in capsys.readouterr().out


def synced(folder, home):
    "Send offline runs with `wandb sync`, from another home."
    command = [sys.executable, "-m", "wandb", "sync", *map(str, sorted(folder.glob("wandb/offline-run-*")))]
    env = os.environ | dict(WANDB_DIR=str(home), WANDB_CACHE_DIR=str(home), WANDB_CONFIG_DIR=str(home), WANDB_ERROR_REPORTING="false")
    return subprocess.run(command, env=env, cwd=home, capture_output=True, text=True, timeout=DEAD_S)


def test_offline_runs_arrive_as_pushed_ones_do(server, tmp_path):
    records = [point(8), make_record(replace(SPEC, bs=16), GPU, outcome="oom")]
    folder, home = tmp_path / "box", tmp_path / "laptop"
    folder.mkdir(), home.mkdir()
    assert write_offline(records, WandbProject("toy/later", group="night", tags=("spot",)), folder) == 2
    server.keep = True
    done = synced(folder, home)
    assert done.returncode == 0, done.stdout + done.stderr
    seen = b"".join(server.seen)
    server.keep = False
    push(records, "toy/now", group="night", tags=("spot",))
    later, now = server.runs("toy", "later"), server.runs("toy", "now")
    ours = lambda values: {k: v for k, v in values.items() if k not in ("_wandb", "_runtime")}
    for id in now:
        assert all(ours(later[id][part]) == ours(now[id][part]) for part in ("config", "summaryMetrics"))
        assert [ours(row) for row in later[id]["rows"]] == [ours(row) for row in now[id]["rows"]] and later[id]["history"] == 1
        assert all(later[id][k] == now[id][k] for k in ("group", "jobType", "tags", "displayName", "state", "history"))
    assert by_id(pull_records("toy/later")) == by_id(records)
    assert f'"{os.uname().nodename}"'.encode() not in seen and str(tmp_path).encode() not in seen


def test_offline_runs_that_wandb_can_sync(server, tmp_path):
    assert write_offline([point(8), point(16)], WandbProject("ready-steady-go"), tmp_path) == 2
    folders = sorted(tmp_path.glob("wandb/offline-run-*"))
    assert len(folders) == 2 and all(list(f.glob("*.wandb")) and not list(f.glob("logs")) for f in folders)
    host = os.uname().nodename.encode()
    named = bytes([len(host)]) + host  # as protobuf writes a text: a name of two letters is part of many words
    assert not any(named in p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())


def test_every_number_of_a_record_is_in_the_summary():
    record = point(8, **{f.name: 1 for f in fields(Record) if f.type in (float | None, int | None) and f.name not in ("size", "bs")})
    numbers = {k for k, v in asdict(record).items() if isinstance(v, (int, float))}
    assert numbers <= run_of(record)["summary"].keys()


def test_a_client_that_ends_early(server, monkeypatch, hasty):
    monkeypatch.setattr(wandb_client, "CHILD_COMMAND", (sys.executable, "-c", "print('{\"sign\": \"online\"}')"))
    assert "ended early" in push([point()], "p").failed[0][1]
    with pytest.raises(RuntimeError, match="ended early"): list(pull_records("toy/p"))
