"A journal written by the first version still reads, resumes, reports and compares."

import hashlib
import json
from dataclasses import fields, replace
from pathlib import Path

import pytest

from ready_steady_go.box.machine import Machine
from ready_steady_go.commands.cli import main
from ready_steady_go.run.resume import already_measured
from ready_steady_go.spec.spec import Spec
from ready_steady_go.store.journal import Journal
from ready_steady_go.store.record import SKIPPED_OOM, YOUNGER_FIELDS, Record, from_line, make_record, seal, to_line

KEPT = Path(__file__).parent / "data" / "journal_schema1.jsonl"
LINES = KEPT.read_text(encoding="utf-8").splitlines()
WHOLE = [line for line in LINES if '"graph_breaks":' in line]  # the others are older: they have fewer fields
# Key and id of each record after sealing it again, older lines included: the defaults of missing fields are part of an id.
SEALED = "c1cb8f5180bf47ea31d574e220a04f4056955dca57b43fc569abc8dfc045b5e2"
DEFAULTS = dict(
    schema=1, model="a", mode="train", precision="fp32", fp16=False, layout="nchw", optimizer="sgd", grad_accum=1, checkpointing=False,
    torchscript=False, cuda_graph=False, n_gpus=1, seed=0, outcome="ok",
)  # fmt: skip


def test_each_line_reads_and_is_written_as_it_was():
    assert len(LINES) == 25 and len(WHOLE) == 16
    for line in LINES:
        row, written = json.loads(line), to_line(from_line(line))
        assert json.loads(written).items() >= row.items() and written.startswith('{"schema":1,')
        assert line not in WHOLE or json.loads(written) == row
        assert from_line(written) == from_line(line)


def test_sealing_again_gives_the_same_key_and_id():
    for line in WHOLE:
        assert seal(from_line(line)) == from_line(line)
    for line in LINES:
        assert seal(from_line(line)).key == json.loads(line)["key"]
    again = [seal(from_line(line)) for line in LINES]
    assert hashlib.sha256("".join(f"{r.key} {r.id}\n" for r in again).encode()).hexdigest() == SEALED


def test_missing_fields_have_the_same_defaults():
    known = {k: v for k, v in vars(from_line('{"schema":1,"model":"a"}')).items() if v is not None}
    assert {k: v for k, v in known.items() if k != "rsg_version"} == DEFAULTS


def test_making_a_record_again_gives_the_same_key():
    for r in map(from_line, LINES):
        if r.layout is None:
            continue  # pulled: it has no complete spec
        again = make_record(taken(Spec, r), taken(Machine, r), rsg_version=r.rsg_version)
        assert (again.key, again.fp16) == (r.key, r.fp16)


def taken(kind, record):
    "Return the part of a record that a spec or a machine holds."
    return kind(**{f.name: getattr(record, f.name) for f in fields(kind)})


def test_a_resumed_run_finds_the_measured_points():
    records = Journal(KEPT).read()
    done = [r for r in records if r.outcome in ("ok", "oom", SKIPPED_OOM) and r.search != "soak" and r.layout is not None]
    assert len(done) == 20
    for r in records:
        if r.layout is None:
            continue
        limits = dict(n_seconds=r.n_seconds, n_batches=r.n_batches, run_number=r.run_number, rsg_version=r.rsg_version)
        found = already_measured(records, taken(Spec, r), taken(Machine, r), limits)
        assert (r in found) == (r in done)


def test_the_report_accepts_it(tmp_path, capsys):
    with pytest.raises(SystemExit) as left:
        main(["report", str(KEPT), "--format", "csv", "--out", str(tmp_path / "r.html")])
    assert left.value.code == 0 and "25 records" in capsys.readouterr().err
    assert any("bert-base-cased" in p.read_text() for p in tmp_path.rglob("*.csv"))


def test_a_comparison_accepts_it(tmp_path, capsys):
    later = tmp_path / "later.jsonl"
    for r in Journal(KEPT).read():
        Journal(later).append(seal(replace(r, time="2026-11-26T00:00:00.000Z")))
    with pytest.raises(SystemExit) as left:
        main(["compare", str(KEPT), str(later), "--json"])
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert left.value.code == 0 and len(rows) == 9 and {row["verdict"] for row in rows} == {"SAME"}
    with pytest.raises(SystemExit) as left:
        main(["compare", str(KEPT), str(KEPT), "--json"])
    assert left.value.code == 1  # the same records twice: nothing to compare


def test_a_record_has_the_same_fields():
    written = set(json.loads(WHOLE[0]))
    today = {f.name for f in fields(Record)}
    assert today - set(YOUNGER_FIELDS) == written and set(vars(from_line(WHOLE[0]))) == today
