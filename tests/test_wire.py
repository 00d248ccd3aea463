"A record goes through any log whole, or it is named as missing; never altered."

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ready_steady_go.commands.wire_commands import collect_command
from ready_steady_go.spec.spec import Spec
from ready_steady_go.store.journal import Journal
from ready_steady_go.store.record import make_record, to_line
from ready_steady_go.store.wire import WireLog, checked, received, wire_lines

sys.path.append(str(Path(__file__).resolve().parent.parent / "benchmarks"))

import wire as fuzz  # noqa: E402


def record(bs=64, windows=40, seed=0):
    rng = random.Random(seed)
    many = [[7, 100 + rng.random()] for _ in range(windows)]
    return make_record(Spec(model="resnet50", bs=bs), None, throughput=815.2, windows=many)


def sent(texts, run="ab12cd34"):
    lines = []
    log = WireLog(lines.extend, run)
    for text in texts: log.send(text)
    log.end()
    return lines


TEXTS = [to_line(record(bs)) for bs in (8, 16, 32)]


def test_a_line_is_short_and_plain():
    lines = sent(TEXTS)
    assert max(map(len, lines)) <= 100 and all(line.isascii() and not {*line} & {" ", '"', "\\"} for line in lines)


def test_all_lines_are_all_records():
    assert received(sent(TEXTS)).texts == TEXTS and received(sent(TEXTS)).missing == []


def test_a_log_collector_may_wrap_each_line_in_json():
    log = [json.dumps(dict(log=line + "\n", stream="stderr", time="2026-11-26T03:00:00Z")).replace("/", "\\/") for line in sent(TEXTS)]
    assert received(log).texts == TEXTS


@pytest.mark.parametrize("columns", [20, 40, 79, 80, 81, 132])
@pytest.mark.parametrize("prefix", ["", "2026-11-26T03:00:00Z box-1 | "])
def test_a_terminal_may_wrap_lines(columns, prefix):
    "The prefix is inside what is wrapped: of the program that prints. Each line begins at the left edge."
    lines = [prefix + line for line in sent(TEXTS)]
    log = [line[i : i + columns] for line in lines for i in range(0, len(line), columns)]
    found = received(log)
    assert found.texts == TEXTS and found.missing == []


@pytest.mark.parametrize("columns", [40, 80])
def test_a_collector_may_wrap_and_prefix(columns):
    log = [f"03:00 box | {line[i:i + columns]}" for line in sent(TEXTS) for i in range(0, len(line), columns)]
    assert received(log).texts == TEXTS


def test_each_lost_line_is_named():
    lines = sent(TEXTS)
    for i, line in enumerate(lines):
        found = received(lines[:i] + lines[i + 1 :])
        (missing,) = found.missing
        if i == len(lines) - 1: assert "run ab12cd34: its end is missing, so records after number 3 may be lost" == missing
        else: assert missing.startswith(f"record {line.split(':')[2]} of run ab12cd34: ") and len(found.texts) == 2


def test_a_record_that_is_lost_completely_is_named():
    lines = [line for line in sent(TEXTS) if ":2:" not in line]
    assert received(lines).missing == ["record 2 of run ab12cd34: all its lines are missing"]


def test_two_runs_in_one_log():
    log = [line for pair in zip(sent(TEXTS[:2], "00000001"), sent(TEXTS[1:], "00000002")) for line in pair]
    found = received([*log, *sent(TEXTS[:2], "00000001"), *sent(TEXTS[1:], "00000002")])
    assert sorted(found.texts) == sorted(TEXTS) and found.missing == []


def test_forged_numbers_do_no_harm():
    log = [checked(f"ab12cd34:{head}:AAAA") for head in ("9999999:0/1", "1:5/2", "1:0/99999", "1:0/1")]
    began = time.monotonic()
    assert received(log).texts == [] and time.monotonic() - began < 5


def test_hostile_text_is_read_in_bounded_time():
    log = ["rsg1:" * 20_000, "rsg1:ab12cd34:1:0/1:" + "A;" * 50_000, "r" * 10**6, "\x1b[" * 10**5, "\x1b]" * 10**5] * 3
    began = time.monotonic()
    assert received(log).texts == [] and time.monotonic() - began < 30


def test_fuzzed_logs():
    "The whole form has 10,000 logs: benchmarks/wire.py."
    assert fuzz.fuzzed(400, seed=1) == dict(logs=400, whole=pytest.approx(450, abs=150), altered=0, unnamed=0)


def test_a_thousand_records_a_second():
    "Ten times slower than a quiet machine is no failure."
    texts = [to_line(record(bs, windows=400, seed=bs)) for bs in range(1, 101)]
    began = time.process_time()
    found = received(sent(texts))
    assert found.texts == texts and len(texts) / (time.process_time() - began) > 100


def test_collect_adds_bytes_as_they_were(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("a.log").write_text("\n".join(sent(TEXTS)), encoding="utf-8")
    assert collect_command(["a.log"], "home.jsonl") == 0 and Path("home.jsonl").read_text(encoding="utf-8").splitlines() == TEXTS
    assert collect_command(["a.log", "a.log"], "home.jsonl") == 0 and Path("home.jsonl").read_text(encoding="utf-8").splitlines() == TEXTS
    assert "0 records added to home.jsonl, 3 were there before" in capsys.readouterr().out


def test_collect_names_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("a.log").write_text("\n".join(sent(TEXTS)[1:]), encoding="utf-8")
    assert collect_command(["a.log"], "home.jsonl") == 1
    said = capsys.readouterr()
    assert "2 records added" in said.out and "rsg: missing: record 1 of run ab12cd34: line 1 of " in said.err


@pytest.mark.parametrize("text", ['{"schema":99}', '{"model":"a"}', "[]", "", '{"schema":1,"model":"a","bs":-1}'])
def test_a_whole_text_that_is_no_record_is_left_out(text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("a.log").write_text("\n".join(sent([text, TEXTS[0]])), encoding="utf-8")
    assert collect_command(["a.log"], "home.jsonl") == 1 and Journal("home.jsonl").read() == [Journal("home.jsonl").read()[0]]
    assert "a record of another version is left out" in capsys.readouterr().err


def rsg(*args, **more):
    return subprocess.run([sys.executable, "-m", "ready_steady_go", *args], capture_output=True, text=True, timeout=300, **more)


def test_export_prints_a_journal_for_a_log(tmp_path):
    (tmp_path / "rsg-results.jsonl").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    for _ in range(2):
        log = rsg("export", "--wire", cwd=tmp_path)
        home = rsg("collect", "-", "--out", "home.jsonl", input=log.stdout, cwd=tmp_path)
        assert (log.returncode, home.returncode) == (0, 0)
    assert home.stdout == "0 records added to home.jsonl, 3 were there before\n"
    assert (tmp_path / "home.jsonl").read_bytes() == (tmp_path / "rsg-results.jsonl").read_bytes()


WRONG = {
    "no log": (["collect"], "it is missing"),
    "no file": (["collect", "nowhere.log"], "nowhere.log: it cannot be read"),
    "no journal": (["export", "nowhere.jsonl"], "there is no such file"),
    "a folder": (["collect", "x.log", "--out", "/"], "--out /: it is a folder"),
}


@pytest.mark.parametrize("args, words", WRONG.values(), ids=WRONG)
def test_a_mistake_is_one_line(args, words, tmp_path):
    done = rsg(*args, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and words in done.stderr


def test_lines_are_the_same_for_the_same_text():
    assert wire_lines(TEXTS[0], "ab12cd34", 1) == wire_lines(TEXTS[0], "ab12cd34", 1)
