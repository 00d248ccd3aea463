"The tables of a journal, printed again."

import json
import os
import subprocess
import sys

import pytest

from ready_steady_go.commands.cli import main
from ready_steady_go.store.journal import Journal

JOURNAL = os.path.join(os.path.dirname(__file__), "..", "benchmarks", "results", "resnets_fp32_2cores.jsonl")


def rsg(*args):
    with pytest.raises(SystemExit) as ended: main(list(args))
    return ended.value.code


def test_the_tables_are_those_of_the_run(tmp_path, capsys):
    out = str(tmp_path / "j.jsonl")
    models = ["--model", "lstm:classifier,lstm", "--bs", "1,2", "--seq-len", "2", "--emb-dim", "4", "--hid-dim", "4"]
    command = [sys.executable, "-m", "ready_steady_go", *models, "--n-batches", "2", "--device", "cpu", "--wandb", "off", "--out", out]
    seen = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert rsg("show", out) == 0
    shown = capsys.readouterr().out
    rows = lambda text: [line for line in text.splitlines() if line[2:9].strip().isdigit() or line.startswith("* ")]
    unmarked = [line.replace("*", " ", 1) if line[2:9].strip().isdigit() else line for line in rows(shown)]
    assert unmarked == rows(seen) and len(unmarked) == 6


def test_a_journal_of_several_models_and_devices(capsys):
    assert rsg("show", JOURNAL) == 0
    text = capsys.readouterr().out
    assert text.count("batch           samples/s") == 2 and text.count("\n* ") >= 2 and max(map(len, text.splitlines())) < 200
    assert rsg("show", "--json", JOURNAL) == 0
    assert [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()] == [r.id for r in Journal(JOURNAL).read()]


def test_nothing_to_show_is_an_error(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert rsg("show") == 2 and "rsg-results.jsonl: there is no such file" in capsys.readouterr().err
    (tmp_path / "e.jsonl").touch()
    assert rsg("show", "e.jsonl") == 2 and "e.jsonl: it has no record; measure first" in capsys.readouterr().err


def test_the_best_is_the_fastest_full_measurement():
    "A named batch size may be faster than the one that a limited search confirmed; a short or unsteady one counts less than both."
    from synthetic import point

    from ready_steady_go.run.screen import best_record

    confirmed, named = point(bs=64), point(bs=256, search=None)
    less = [point(bs=512, search="probe"), point(bs=512, search=None, steady=False)]
    assert best_record([confirmed, named, *less]) == named
    assert best_record([confirmed, *less]) == confirmed
    again = point(bs=256, factor=0.99)  # the search confirmed it later
    assert best_record([confirmed, named, again, *less]) == again
