"Records from journals and from W&B are read, or one line explains why not."

import importlib.util
import os

import pytest
from wandb_server import KEY, serving

from ready_steady_go.spec.errors import UserError
from ready_steady_go.spec.spec import Spec
from ready_steady_go.store import sources
from ready_steady_go.store.journal import Journal
from ready_steady_go.store.record import make_record
from ready_steady_go.store.sources import read_sources
from ready_steady_go.store.wandb_sync import WandbProject, push_records

pytest.importorskip("wandb", reason="wandb is not installed: pip install -e '.[dev]'")

RECORDS = [make_record(Spec(model="resnet50", bs=bs), None, throughput=100.0 + bs, windows=[[1, 2.0]]) for bs in (8, 16, 32)]


@pytest.fixture
def server(monkeypatch, tmp_path):
    "A server with the first two records, a key, and a journal with the last two."
    with serving() as server:
        for name in [n for n in os.environ if n.startswith("WANDB")]: monkeypatch.delenv(name)
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        for r in RECORDS[1:]: Journal("night.jsonl").append(r)
        yield server


def test_a_journal_and_a_project_are_read_as_one(server):
    assert not push_records(RECORDS[:2], WandbProject("toy/p")).failed
    assert sorted(r.bs for r in read_sources(["toy/p", "night.jsonl"])) == [8, 16, 32]
    assert [r.windows for r in read_sources(["night.jsonl"])] == [[[1, 2.0]]] * 2
    assert [r.windows for r in read_sources(["night.jsonl"], windows=False)] == [None] * 2


def test_a_project_that_the_key_may_not_read(server):
    with pytest.raises(RuntimeError, match="^toy/nope: .*no such project, or does not show it to this key"): read_sources(["toy/nope"])
    for fault, words in ((403, "does not let this key read it"), (401, "does not let"), (404, "no such project")):
        server.faults["Runs"] = fault
        with pytest.raises(RuntimeError, match=f"^toy/p: .*{words}") as error: read_sources(["toy/p"])
        assert "\n" not in str(error.value) and KEY not in str(error.value)


def test_an_empty_project(server):
    server.runs("toy", "p")
    assert read_sources(["toy/p"]) == []


def test_no_key_and_no_package(server, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY")
    with pytest.raises(RuntimeError, match="there is no key for W&B; run wandb login"): read_sources(["toy/p"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match="^toy/p: .*pip install"): read_sources(["toy/p"])
    assert server.requests == []


WRONG = {"night.json": "no such file", "x/night.jsonl": "no such file", "here/night": "no such file", ".": "it is a folder", "": "no name"}


@pytest.mark.parametrize("name,words", WRONG.items(), ids=WRONG.keys())
def test_a_typo_waits_for_no_server(server, name, words):
    os.mkdir("here")
    with pytest.raises(UserError, match=words) as error: read_sources([name])
    assert "\n" not in str(error.value) and server.requests == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_file_that_may_not_be_read(server):
    os.chmod("night.jsonl", 0)
    with pytest.raises(UserError, match="night.jsonl: it cannot be read"): read_sources(["night.jsonl"])


def test_an_address_may_be_a_project():
    assert sources.is_project("https://wandb.ai/xl0/ready-steady-go/workspace")
