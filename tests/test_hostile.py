"Hostile text, files and locales: each ends in one line, and no record is lost."

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ready_steady_go.commands.cli import main
from ready_steady_go.report.page import MAX_NAME_BYTES, parse_out
from ready_steady_go.report.text import csv_text
from ready_steady_go.spec.errors import UserError
from ready_steady_go.spec.spec import Spec
from ready_steady_go.store.journal import Journal, read_journal
from ready_steady_go.store.record import make_record, to_line

ROOT = Path(__file__).resolve().parent.parent


def point(bs, **more):
    "Return a record without a machine."
    return make_record(Spec(model="toy", bs=bs), None, **(dict(throughput=100.0, throughput_ci95=0.1, step_ms=10.0, steady=True) | more))


def rsg(*args, cwd, **env):
    "Run the command in another process."
    command = [sys.executable, "-m", "ready_steady_go", *map(str, args)]
    return subprocess.run(command, cwd=cwd, env={**os.environ, "PYTHONPATH": str(ROOT), **env}, capture_output=True, timeout=120)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="sessions are read from /proc")
def test_a_part_of_the_attack_holds():
    command = [sys.executable, str(ROOT / "benchmarks" / "attack.py"), "--share", "0.04", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["not_held"] == 0 and all(n["tried"] > 0 for n in found["classes"].values())


WRONG = {
    "step_ms": "x",
    "findings": 5,
    "device_name": 7,
    "throughput": -5,
    "bs": 10**400,
    "mfu": float("nan"),
    "windows": [[1]],
    "throttle": {"a": "b"},
    "ram_bytes": 1e300,
    "steady": 1,
    "outcome": None,
}


@pytest.mark.parametrize("field", WRONG)
def test_a_wrong_value_is_named_and_left_out(field, tmp_path, capsys):
    path = tmp_path / f"{field}.jsonl"
    wrong = json.dumps(json.loads(to_line(point(16))) | {field: WRONG[field]})
    path.write_text("\n".join([to_line(point(8)), wrong, to_line(point(32))]) + "\n", encoding="utf-8")
    before = path.read_bytes()
    for _ in range(2):
        assert [r.bs for r in Journal(path).read()] == [8, 32]
    err = capsys.readouterr().err
    assert err.startswith(f"rsg: {path}: line 2: {field} = ") and err.count("\n") == 1 and path.read_bytes() == before


def test_the_report_names_a_wrong_line(tmp_path):
    from ready_steady_go.report.data import load_results
    from ready_steady_go.report.overview import overview

    wrong = json.dumps(json.loads(to_line(point(16))) | dict(bs="16"))
    for lines in ([wrong], [to_line(point(8)), wrong]):
        (tmp_path / "j.jsonl").write_text("\n".join(lines), encoding="utf-8")
        data = load_results([str(tmp_path / "j.jsonl")])
        assert data.torn == 0 and f"j.jsonl, line {len(lines)}: bs = '16'" in "".join(note.markdown for note in overview(data))


def test_control_characters_and_half_pairs_do_not_cost_a_record(tmp_path):
    journal = Journal(tmp_path / "j.jsonl")
    journal.append(point(8, outcome="failed:ValueError", error="\ud800 \x1b[2J a\nb"))
    (r,) = journal.read()
    assert r.error == "\ufffd  [2J a b"


@pytest.mark.parametrize("make", ["zero", "pipe", "folder", "endless"])
@pytest.mark.parametrize(
    "args", [["check"], ["compare", "sound.jsonl"], ["push", "--project", "p"], ["suite"], ["report", "--reference"]], ids=" ".join
)
def test_what_has_no_end_is_refused(make, args, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Journal("sound.jsonl").append(point(8))
    os.mkfifo("pipe.toml"), os.mkdir("folder.toml")
    with open("endless.toml", "wb") as f:
        f.truncate(2**36)
    with pytest.raises(SystemExit) as left:
        main([*args, "/dev/zero" if make == "zero" else f"./{make}.toml"])
    err = capsys.readouterr().err
    words = dict(zero="not a plain file", pipe="not a plain file", folder="it is a folder", endless="bytes; name a")
    assert left.value.code == 2 and err.count("\n") == 1
    assert words[make] in err or "is not a record" in err or args == ["suite"], err


def test_standard_input_is_a_journal(tmp_path):
    (tmp_path / "new.jsonl").write_text(to_line(point(8)) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "ready_steady_go", "compare", "-", "new.jsonl"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path, env=env, input=to_line(point(8, throughput=50.0)), capture_output=True, text=True, timeout=120
    )
    assert "FASTER" in done.stdout or "UNSURE" in done.stdout, done.stderr


def test_a_byte_order_mark_is_skipped(tmp_path):
    (tmp_path / "j.jsonl").write_bytes(b"\xef\xbb\xbf" + to_line(point(8)).encode() + b"\r\n")
    assert [r.bs for r in read_journal(tmp_path / "j.jsonl")] == [8]


def test_an_ascii_locale(tmp_path):
    Journal(tmp_path / "größe.jsonl").append(point(8, outcome="failed:x", error="größer ± 3"))
    ascii_only = dict(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    done = rsg("report", "größe.jsonl", "--format", "html,md,csv", cwd=tmp_path, **ascii_only)
    assert done.returncode == 0 and b"Traceback" not in done.stderr, done.stderr
    assert "größer ± 3" in (tmp_path / "report.md").read_text(encoding="utf-8")
    done = rsg("compare", "größe.jsonl", "größe.jsonl", cwd=tmp_path, **ascii_only)
    assert done.returncode == 1 and b"Traceback" not in done.stderr and done.stderr.startswith(b"rsg: ")


def test_a_long_name_fails_before_the_work():
    with pytest.raises(UserError, match="the name is too long"):
        parse_out("x" * (MAX_NAME_BYTES + 1) + ".html")
    with pytest.raises(UserError, match="does not exist"):
        parse_out("x" * 5000 + "/r.html")


@pytest.mark.parametrize("text", ["=1", "+1", "-x", "@x", "\t=1", "\uff1d1", "\u200b=1", ";=1", "; ,\ufeff\uff0b1", "\r@"])
def test_a_cell_is_no_formula(text):
    assert csv_text(text) == f"'{text}"


@pytest.mark.parametrize("text", ["resnet50", "größe", "模型", "a=1", "a;=1", "", "(=)"])
def test_other_cells_are_unchanged(text):
    assert csv_text(text) == text
