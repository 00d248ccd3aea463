"Lines of a journal stay whole with several writers, after a crash and on a full disk."

import errno
import fcntl
import multiprocessing
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from ready_steady_go.spec.spec import Spec
from ready_steady_go.store.journal import CannotWrite, Journal, try_to_append
from ready_steady_go.store.record import make_record, to_line
from ready_steady_go.store.trainings import TrainingLog


def write(path, writer):
    "Append 40 records that are larger than a buffer."
    for bs in range(1, 41): Journal(path).append(make_record(Spec(model=f"m{writer}", bs=bs), None, windows=[[1, 0.5]] * 400))


def test_two_writers_do_not_mix_their_lines(tmp_path):
    path = tmp_path / "j.jsonl"
    writers = [multiprocessing.get_context("spawn").Process(target=write, args=(path, i)) for i in range(3)]
    for w in writers: w.start()
    for w in writers: w.join(60)
    records = Journal(path).read()
    assert len(path.read_text().splitlines()) == len(records) == 120
    assert Counter(r.model for r in records) == {"m0": 40, "m1": 40, "m2": 40}
    for name in ("m0", "m1", "m2"): assert [r.bs for r in records if r.model == name] == list(range(1, 41))


def test_a_file_that_another_check_removes_is_made_again(tmp_path, monkeypatch):
    path, lock, locked = tmp_path / "j.jsonl", fcntl.flock, []

    def remove_once(file, how):
        "Remove the file before its first lock, as the check of another process does."
        if not locked: path.unlink()
        locked.append(how)
        lock(file, how)

    monkeypatch.setattr("fcntl.flock", remove_once)
    Journal(path).append(make_record(Spec(model="a", bs=8), None))
    assert len(Journal(path).read()) == 1 and len(locked) == 2


def test_a_check_removes_its_file_under_the_lock(tmp_path, monkeypatch):
    path, unlink, blocked = tmp_path / "j.jsonl", Path.unlink, []

    def try_to_lock(self, missing_ok=False):
        "Try to lock the file as a writer does, then remove it."
        with self.open("ab") as file:
            try: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError: blocked.append(self)
        unlink(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", try_to_lock)
    Journal(path).check()
    assert blocked == [path] and not path.exists()


def test_a_check_keeps_the_file_that_another_is_writing(tmp_path, monkeypatch):
    path, writer = tmp_path / "j.jsonl", []
    exists = Path.exists

    def make_and_lock(self, **more):
        "Answer that the file is not there, then make and lock it, as another process may do a moment later."
        found = exists(self, **more)
        if self == path and len(writer) == 0:
            writer.append(self.open("ab"))
            fcntl.flock(writer[0], fcntl.LOCK_EX)
        return found

    monkeypatch.setattr(Path, "exists", make_and_lock)
    try_to_append(path)
    assert exists(path)
    writer[0].close()


def test_a_line_that_is_cut_anywhere_is_skipped(tmp_path):
    path, whole = tmp_path / "j.jsonl", to_line(make_record(Spec(model="a", bs=8), None)).encode()
    for cut in range(1, len(whole)):
        path.write_bytes(whole + b"\n" + whole[:cut])
        Journal(path).check()
        Journal(path).append(make_record(Spec(model="b", bs=9), None))
        assert [r.model for r in Journal(path).read()] == ["a", "b"], whole[:cut]


def test_a_newer_journal_is_refused_and_untouched(tmp_path):
    path, newer = tmp_path / "rsg-results.jsonl", '{"schema":99,"model":"x"}\n'
    path.write_text(newer)
    done = subprocess.run([sys.executable, "-m", "ready_steady_go", "--model", "a"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, path.read_text()) == (2, newer)
    assert "schema 99" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("log", [Journal, TrainingLog])
def test_a_check_keeps_a_link_to_a_file_that_does_not_exist_yet(log, tmp_path):
    link, target = tmp_path / "link.jsonl", tmp_path / "disk.jsonl"
    link.symlink_to(target)
    log(link).check()
    assert link.is_symlink() and not target.exists()


@pytest.mark.parametrize("log", [Journal, TrainingLog])
def test_a_check_fails_where_locks_are_not_supported(log, tmp_path, monkeypatch):
    def refuse(*args): raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(CannotWrite, match="cannot lock a file .No locks available.; use --out"): log(tmp_path / "x.jsonl").check()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("log", [Journal, TrainingLog])
def test_a_check_passes_while_another_rsg_removes_the_new_file_or_writes(log, tmp_path, monkeypatch):
    path, unlink = tmp_path / "x.jsonl", Path.unlink
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda file, **more: (unlink(file), unlink(file, **more)))
        log(path).check()
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        log(path).check()


@pytest.mark.parametrize("typed,code", [(True, 2), (False, 1)])
def test_a_folder_that_cannot_be_written_to(typed, code, tmp_path, monkeypatch, capsys):
    from ready_steady_go.commands.cli import main

    def refuse(*args, **kwargs): raise OSError(30, "Read-only file system")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(SystemExit) as left: main(["--model", "a"] + ["--out", str(tmp_path / "x.jsonl")] * typed)
    assert left.value.code == code and list(tmp_path.iterdir()) == []
    assert "cannot write there (Read-only file system)" in capsys.readouterr().err


def test_a_partial_line_is_removed(tmp_path, monkeypatch):
    import os

    path, real = tmp_path / "j.jsonl", os.write
    Journal(path).append(make_record(Spec(model="a", bs=8), None))
    before = path.read_bytes()
    monkeypatch.setattr("os.write", lambda fd, data: real(fd, data[:100]))  # the disk has room for a hundred bytes
    with pytest.raises(OSError, match="No space left"): Journal(path).append(make_record(Spec(model="b", bs=8), None))
    assert path.read_bytes() == before


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    def refuse(fd, data): raise OSError(28, "No space left on device")

    path = tmp_path / "j.jsonl"
    Journal(path).append(make_record(Spec(model="a", bs=8), None))
    before = path.read_bytes()
    monkeypatch.setattr("os.write", refuse)
    with pytest.raises(OSError, match="No space left"): Journal(path).append(make_record(Spec(model="b", bs=8), None))
    assert path.read_bytes() == before
