"From Python: the same measurement, the same records, and a light import."

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import ready_steady_go
from ready_steady_go import Results, UserError, benchmark, commands, quality, read, tune
from ready_steady_go.commands.python import python_request
from ready_steady_go.run.request import Request, call_options
from ready_steady_go.store.journal import Journal

SMALL = dict(seq_len=2, emb_dim=4, hid_dim=4, n_batches=2, device="cpu", wandb="off")
LIGHT = """
import sys
import ready_steady_go
heavy = {"torch", "timm", "transformers", "wandb", "pandas", "matplotlib", "numpy", "typer", "click", "IPython"}
print(sorted(heavy & {*sys.modules}), {*ready_steady_go.__all__} <= {*dir(ready_steady_go)})
from ready_steady_go import Spec, UserError, read
print(sorted(heavy - {"typer", "click"} & {*sys.modules}) if "torch" in sys.modules else "no torch")
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_import_is_light_and_knows_its_names():
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[] True", "no torch"]


def test_each_public_name_is_there():
    assert [name for name in ready_steady_go.__all__ if getattr(ready_steady_go, name, None) is None] == []
    with pytest.raises(AttributeError, match="no attribute 'benchmrk'"): ready_steady_go.benchmrk  # noqa: B018


def test_the_records_are_those_of_the_command(folder):
    (ours,) = benchmark("lstm:classifier", bs=2, **SMALL)
    typed = [word for name, value in SMALL.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    command = [sys.executable, "-m", "ready_steady_go", "--model", "lstm:classifier", "--bs", "2", *typed, "--out", "c.jsonl", "--quiet"]
    subprocess.run(command, check=True, capture_output=True)
    (theirs,) = Journal("c.jsonl").read()
    known = lambda r: {name for name, value in vars(r).items() if value is not None}
    assert ours.key == theirs.key and ours.ok and theirs.ok
    unsure = {"throughput_ci95", "trend", "busy", "forward_ms", "backward_ms", "optimizer_ms"}  # too short, or the machine is too busy
    assert known(ours) ^ known(theirs) <= unsure
    assert Results(read()).df().loc[0, "throughput"] == ours.throughput


def test_a_second_call_measures_only_what_is_new():
    first = benchmark("lstm:classifier", bs=[2, 4], **SMALL)
    more = benchmark("lstm:classifier", bs="2-8*2", **SMALL)
    assert [r.bs for r in more] == [2, 4, 8] and [r.id for r in more[:2]] == [r.id for r in first]
    assert [r.id for r in read()] == [r.id for r in more] and len(more.best) == 1 and more.best[0].id in repr(more.best)


STOPPED = """
import os, signal, threading, time
from ready_steady_go import benchmark, read

def stop():
    while not os.path.exists("rsg-results.jsonl") or not read(): time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGINT)

if __name__ == "__main__":
    threading.Thread(target=stop, daemon=True).start()
    try:
        benchmark("lstm:classifier", bs=[2, 4, 8, 16], seq_len=2, emb_dim=4, hid_dim=4, n_seconds=3, device="cpu", wandb="off")
    except KeyboardInterrupt as why:
        print("stopped:", why, len(read()) in (1, 2), signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


def test_a_stopped_call_keeps_what_was_measured(folder):
    (folder / "s.py").write_text(STOPPED, encoding="utf-8")
    done = subprocess.run([sys.executable, "s.py"], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[-1] == "stopped: the benchmark was stopped; the same call continues True True", done.stderr


MISTAKES = [
    (dict(optimiser="sgd"), "use optimizer$"), (dict(bs=0), "--bs 0"), (dict(model=[]), "no model"),
    (dict(json=True), "--json: a call returns its records; remove it"),
    (dict(nodes=2, node_rank=1, master="host:1"), "--node-rank 1: only machine 0 returns results; start rsg itself on this machine"),
]  # fmt: skip


@pytest.mark.parametrize("options, words", MISTAKES)
def test_a_mistake_is_a_user_error(options, words):
    with pytest.raises(UserError, match=words): benchmark(**dict(model="resnet50") | options)


OTHERS = [(tune, "hand_back", "tune"), (tune, "json", "tune"), (quality, "hand_back", "quality"), (quality, "repeat", "quality")]


@pytest.mark.parametrize("call, option, name", OTHERS)
def test_an_option_that_a_call_does_not_have_is_refused(call, option, name):
    words = f"^--{option.replace('_', '-')}: {name} has no such option; remove it$"
    with pytest.raises(UserError, match=words): call("test_resnet", **{option: True})


@pytest.mark.parametrize("tag,tags", [("a", ("a",)), ("a,b", ("a,b",)), (["a", "b"], ("a", "b")), (("a", 1), ("a", "1")), ([], ())])
def test_each_part_of_a_list_is_a_tag(tag, tags):
    assert python_request("resnet50", "auto", dict(tag=tag)).options.tag == tags
    typed = call_options(dict(tag=tag, gpus=[1, 2]), ("tag", "gpus"), "tune")
    options = Request.from_options(dict(typed, model=["resnet50"])).options
    assert options.tag == tags and options.gpus == [1, 2]


def test_the_handlers_of_signals_are_restored():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(UserError): benchmark("lstm:classifier", device="cuda:99", **{k: v for k, v in SMALL.items() if k != "device"})
    assert signal.getsignal(signal.SIGINT) is before


def test_the_examples_of_the_page_are_requests(monkeypatch):
    "Each call on the page has options that exist; nothing is measured."
    asked = []

    def run(requests, screen, began, collected):
        asked.append(requests[0])
        return 0

    monkeypatch.setattr(commands.python, "run", run)
    page = (Path(__file__).resolve().parent.parent / "docs/site/python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.S)
    for block in blocks[:2]: exec(block, dict(benchmark=benchmark))
    assert [[spec.model for spec in request.specs] for request in asked] == [
        ["resnet50"], ["resnet50", "vit_base_patch16_224"], ["bert-base"], ["resnet50"]
    ]  # fmt: skip
    assert asked[2].options.bs == [8, 16, 32] and asked[3].specs[0].mode == "infer" and len(blocks) == 6
