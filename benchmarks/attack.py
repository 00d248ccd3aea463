"""Does hostile input end in a traceback, a hang or an orphan, or is a record lost or doubled?

    python benchmarks/attack.py [--seed 0] [--share 1.0] [--only commands,faults]

Each class makes its attempts from the seed. A command is run in a forked process, in its own session, folder and temporary folder; the
process that measures is a script, so no attempt waits for torch. An attempt does not hold if there is a traceback, an answer takes longer
than LIMIT_S, memory passes MAX_BYTES, a control character reaches the terminal, a process or a temporary file is left, or a record is lost
or doubled. Runs are attacked with signals, too, and repeated until they are complete. Prints the attempts that do not hold and a table; the
last line is one JSON object. Exit 1 if anything does not hold.

A class is one row of CLASSES: a function that yields a name and a fault, or None, for each attempt.
"""

import argparse
import csv
import ctypes
import itertools
import json
import os
import random
import resource
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
import uuid
from collections import Counter, namedtuple
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import ready_steady_go
from ready_steady_go.box.price import find_price
from ready_steady_go.commands import cli
from ready_steady_go.run import campaign, resume
from ready_steady_go.run.request import Request
from ready_steady_go.run.screen import Screen
from ready_steady_go.run.supervise import Child, Runner
from ready_steady_go.spec.errors import UserError
from ready_steady_go.spec.options import RunOptions
from ready_steady_go.spec.spec import Spec
from ready_steady_go.store.journal import Journal, records_in
from ready_steady_go.store.record import DEFAULTS, make_record, to_line

ROOT = Path(__file__).resolve().parent.parent
LIMIT_S = 30  # for one attempt
ENDS_WITHIN_S = 10  # every process of a run whose parent was killed
MARK = "RSG_ATTACK"  # a variable of the processes of one attempt
MAX_BYTES = 6 * 2**30  # of address space: a reader without a bound passes it at once
CODES = {0, 1, 2}
TOY = dict(device="cuda", device_name="Toy GPU", pytorch="2.15.0")
CHILD = """
import json, sys
def send(**answer): print(json.dumps(dict(answer, id=question["id"])), flush=True)
for line in sys.stdin:
    question = json.loads(line)
    if question["do"] == "check":
        specs = [dict(s, family="timm", model=s["model"].removeprefix("timm:"), size=8) for s in question["specs"]]
        send(event="checked", specs=specs, machine=TOY)
        continue
    spec, ok = question["spec"], question["spec"]["bs"] < 100
    timed = dict(throughput=100.0, step_ms=10.0, windows=[[10, 100.0]] * 12, steady=True, duration=12.0, n_items=1200)
    soaked = dict(burst_throughput=101.0, burst_ci95=1.0, sustained_throughput=100.0, sustained_ci95=1.0, soak_s=12.0, flat=True)
    measured = timed | soaked if ok else {}
    limits = {name: question["limits"].get(name) for name in ("n_seconds", "n_batches", "run_number")}
    send(event="record", record=dict(spec, **TOY, **measured, **limits, outcome="ok" if ok else "oom"))
""".replace("TOY", repr(TOY))
TEXTS = [
    "",
    " ",
    "-",
    "--",
    "-1",
    "0",
    "3",
    "nan",
    "inf",
    "1e999",
    "9" * 5000,
    "0x10",
    "1_000",
    "٣",
    "８",
    "½",
    "a" * 5000,
    "\x1b[2Jx",
    "a\nb",
    "\ud800",
    "\udcff",
    "\u202egnp.exe",
    "größe",
    "🤖",
    "=1+1",
    "＝1+1",
    "\u200b=1+1",
    ";=1+1",
    "@x",
    "'; rm -rf /",
    "../../etc/passwd",
    "/",
    "/dev/zero",
    "%s%n",
    "{}",
    "[",
    "null",
    "true",
    "<script>alert(1)</script>",
    "${x}",
    "auto",
    "8",
    "8,16",
    "8-64*2",
    "1-999999999+1",
    "fp16",
    "toy",
    "90s",
    "0.1",
    "a/b",
]
VALUES = [None, True, 0, -5, 10**400, 1.5, -1e-300, 5e-324, 1e308, float("nan"), float("inf"), "x", "\ud800\x1b[2J", [], [[1]], {"a": {}}]
Done = namedtuple("Done", "code out err hung processes files")


def start_toy():
    "Return a child that measures nothing."
    return Child((sys.executable, "-I", "-S", "-c", CHILD))


@contextmanager
def new_folder():
    "Enter a new folder; leave and remove it at the end."
    before = os.getcwd()
    with tempfile.TemporaryDirectory(prefix="rsg-attack-") as folder:
        os.chdir(folder)
        try:
            yield Path(folder)
        finally:
            os.chdir(before)


# One command in a process of its own


def be_command(args, mark, start, prepare):
    "Run a command in this forked process, with a script in the place of the bench."
    os.setsid()
    os.environ[MARK] = mark
    os.mkdir("temporary")
    os.environ["TMPDIR"] = tempfile.tempdir = os.path.abspath("temporary")
    for fd, name, flags in ((0, os.devnull, os.O_RDONLY), (1, "out", os.O_WRONLY | os.O_CREAT), (2, "err", os.O_WRONLY | os.O_CREAT)):
        os.dup2(os.open(name, flags, 0o600), fd)
    sys.stdout, sys.stderr = (
        os.fdopen(fd, "w", encoding="utf-8", errors=errors) for fd, errors in ((1, "strict"), (2, "backslashreplace"))
    )
    campaign.Runner = partial(Runner, start=start)
    resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))
    code = 1
    try:
        prepare()
        cli.main(args)
    except SystemExit as left:
        code = left.code
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)


def living(pid, mark):
    "Return the living processes of an attempt: those of the session of a process, without itself, and those with the mark."
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, session, *_ = (process / "stat").read_bytes().rpartition(b")")[2].split()
            ours = int(session) == pid or f"{MARK}={mark}".encode() in (process / "environ").read_bytes().split(b"\0")
        except (OSError, ValueError):
            continue
        if ours and state not in (b"Z", b"X") and int(process.name) != pid:
            found.append(int(process.name))
    return found


def left_behind(pid, mark):
    "Return the processes of an attempt that do not end in time, and kill them."
    until = time.monotonic() + ENDS_WITHIN_S
    while (left := living(pid, mark)) and time.monotonic() < until:
        time.sleep(0.01)
    for each in left:
        send_signal(each, "SIGKILL")
    return left


def send_signal(pid, name):
    "Send a signal to a process that may be gone."
    try:
        os.kill(pid, getattr(signal, name))
    except ProcessLookupError:
        pass


def run_command(args, start=start_toy, prepare=lambda: None):
    "Run a command in the current folder; end what it leaves, and return how it ended."
    mark = uuid.uuid4().hex
    for old in ("out", "err"):
        Path(old).unlink(missing_ok=True)
    pid = os.fork()
    if not pid:
        try:
            be_command(args, mark, start, prepare)
        finally:
            os._exit(1)  # stdout cannot be written to
    until, ended = time.monotonic() + LIMIT_S, (0, 0)
    while not ended[0] and time.monotonic() < until:
        ended = os.waitpid(pid, os.WNOHANG)
        time.sleep(0.002)
    if hung := not ended[0]:
        os.kill(pid, signal.SIGKILL)
        ended = os.waitpid(pid, 0)
    left, files = left_behind(pid, mark), os.listdir("temporary")
    for file in files:
        (Path("temporary") / file).unlink() if (Path("temporary") / file).is_file() else None
    if not files:
        os.rmdir("temporary")
    out, err = (Path(name).read_bytes().decode(errors="replace") for name in ("out", "err"))
    return Done(os.waitstatus_to_exitcode(ended[1]), out, err, hung, left, files)


def fault_of(done):
    "Return why a command does not hold, else None."
    if done.hung:
        return f"no end after {LIMIT_S} s"
    if "Traceback" in done.err:
        return done.err.strip().splitlines()[-1][:200]
    if done.code not in CODES:
        return f"exit code {done.code}"
    if done.processes:
        return f"{len(done.processes)} processes left"
    if done.files:
        return f"temporary files left: {done.files[:3]}"
    if any(ord(c) < 32 and c != "\n" or "\x7f" <= c <= "\x9f" for c in done.out + done.err):
        return "a control character on the terminal"
    if done.code == 2 and done.err.count("\n") != 1:
        return f"{done.err.count(chr(10))} lines of error"
    return None


@contextmanager
def time_limit():
    "Raise a TimeoutError if what is inside does not end."

    def stop(*_):
        raise TimeoutError(f"no end after {LIMIT_S} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def fault_in(do, *args):
    "Return why a function does not hold: what it returns, or the error that it raises."
    try:
        with time_limit(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            return do(*args)
    except UserError as error:
        return None if "\n" not in str(error) else "an error of several lines"
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:200]


# The classes


def typed(rng, row):
    "Return an option with a value as somebody might type it."
    value = rng.choice([*row.choices, *TEXTS, *TEXTS]) if row.choices else rng.choice(TEXTS)
    return [row.name] if row.kind is bool else [row.name, value] if rng.random() < 0.8 else [f"{row.name}={value}"]


def command_lines(rng, share):
    "Options and arguments of any kind, in any order."
    rows = [row for name, row in cli.OPTION_ROWS.items() if name not in ("project", "entity", "wandb")]
    commands = {"": 6, "suite": 2, "compare": 2, "check": 1, "push": 1, "pull": 1}
    for _ in range(round(1000 * share)):
        command = rng.choices([*commands], commands.values())[0]
        words = [word for row in rng.sample(rows, rng.randint(0, 4)) for word in typed(rng, row)]
        if command:
            words = [*[rng.choice(TEXTS) for _ in range(rng.randint(0, 3))], *words][:: rng.choice((1, 1, 1, -1))]
        elif rng.random() < 0.8:
            words = ["--model", "toy", "--bs", rng.choice(("8", "8,16,128")), *words]
        args = [word.replace("\0", "") for word in ([command] * bool(command) + words)]
        with new_folder():
            yield f"rsg {args}"[:200], fault_of(run_command(args))


def toy_records(n=10):
    "Return sound records, each with its own batch size."
    more = dict(throughput=100.0, step_ms=10.0, windows=[[10, 100.0]] * 12, steady=True, findings=[dict(code="unsteady", text="±1 %")])
    return [make_record(Spec(model="toy", family="timm", size=8, bs=8 * i), None, **more, **TOY) for i in range(1, n + 1)]


def others_are_read(lines, sound):
    "Return a fault unless all sound records are read, each once."
    found = Counter(r.id for r in records_in(lines, "j", lambda number, why: None))
    lost, doubled = sum(not found[id] for id in sound), sum(found[id] > 1 for id in sound)
    return f"{lost} lost, {doubled} doubled" if lost or doubled else None


def can_be_used(line):
    "Use a record as push, compare and resume use it; return a fault unless it is found to be sound or is left out."
    from ready_steady_go.box.machine import Machine
    from ready_steady_go.run.screen import Screen
    from ready_steady_go.store.wandb_sync import WandbProject

    for r in records_in([line], "j", lambda number, why: None):
        WandbProject("p").runs([r])
        to_line(r).encode()
        resume.already_measured([r], Spec(model="toy", family="timm", size=8), Machine(**TOY), {})
        screen = Screen(quiet=True)
        screen.begin(Spec(model="toy"), [r]), screen.point(r), screen.end()
    return None


def journal_faults(rng, share):
    "A wrong value in each field of a record, and unknown bytes between sound records."
    records = toy_records()
    lines, ids = [to_line(r).encode() + b"\n" for r in records], [r.id for r in records]
    faults = [(field, value) for field in DEFAULTS for value in VALUES]
    for field, value in rng.sample(faults, min(len(faults), round(len(faults) * share))):
        k, name = rng.randrange(len(lines)), f"{field} = {value!r}"[:80]
        wrong = json.dumps(json.loads(lines[k]) | {field: value}).encode() + b"\n"
        sound = [id for i, id in enumerate(ids) if i != k]
        fault = fault_in(others_are_read, [*lines[:k], wrong, *lines[k + 1 :]], sound)
        yield name, fault or fault_in(can_be_used, wrong)
    for i in range(round(100 * share)):
        k, junk = rng.randrange(1, len(lines)), b'{"schema":1,' + rng.randbytes(rng.randint(0, 2000)).replace(b"\n", b"")
        junk = rng.choice((junk, b"\0" * 100, b'{"schema":' + b"[" * 50_000, b'{"schema":' + b"9" * 9999, b"", b"\r"))
        yield f"junk {i}", fault_in(others_are_read, [*lines[:k], junk + b"\n", *lines[k:]], ids)


def truncations(rng, share):
    "A journal that is cut at any byte, read, and written on."
    lines = [to_line(r) for r in toy_records(4)]
    whole, fourth = "\n".join(lines[:3]).encode(), toy_records(1)[0]
    cuts = rng.sample(range(1, len(whole)), round((len(whole) - 1) * share))
    with new_folder():
        for i, cut in enumerate(cuts):
            complete = [json.loads(line)["id"] for line in whole[:cut].split(b"\n")[:-1]]
            fault = fault_in(others_are_read, whole[:cut].split(b"\n"), complete)
            if not fault and i % 20 == 0:
                Path("j").write_bytes(whole[:cut])
                fault = fault_in(written_on, Path("j"), complete, fourth)
            yield f"cut at byte {cut}", fault


def written_on(path, complete, record):
    "Append a record to a cut journal; return a fault unless old and new records are read and the old bytes are unchanged."
    before = path.read_bytes()
    Journal(path).append(record)
    if not path.read_bytes().startswith(before):
        return "the old bytes are changed"
    return others_are_read(path.read_bytes().splitlines(), [*complete, record.id])


def resumes(rng, share):
    "A run that is repeated on a journal with wrong lines: it measures what is missing, and nothing twice."
    args = ["--model", "toy", "--bs", "8,16,24,32,40", "--out", "j", "--quiet"]
    for i in range(round(60 * share)):
        with new_folder():
            done = run_command(args)
            lines = Path("j").read_bytes().splitlines(keepends=True) if Path("j").exists() else []
            if fault_of(done) or len(lines) != 5:
                yield f"first run {i}", fault_of(done) or f"{len(lines)} records: {done.err[:100]}"
                continue
            k, field, value = rng.randrange(5), rng.choice([*DEFAULTS]), rng.choice(VALUES)
            lines[k] = json.dumps(json.loads(lines[k]) | {field: value}).encode() + b"\n"
            Path("j").write_bytes(before := b"".join(lines))
            fault = fault_of(run_command(args)) or (None if Path("j").read_bytes().startswith(before) else "the old bytes are changed")
            sizes = Counter(json.loads(line)["bs"] for i, line in enumerate(Path("j").read_bytes().splitlines()) if i != k)
            doubled = [bs for bs in (8, 16, 24, 32, 40) if sizes[bs] > 1]
            missing = [bs for bs in (8, 16, 24, 32, 40) if not sizes[bs] and bs != 8 * (k + 1)]
            yield f"resume, {field} = {value!r}"[:80], fault or (f"doubled {doubled}, missing {missing}" if doubled or missing else None)


def hostile_records(rng, share):
    "Records of the right types with hostile texts and extreme numbers, in the report, in CSV files and in a comparison."
    kinds = {
        float: [1e-100, 1e-30, 1.0, 1e9, 9e18],
        int: [1, 7, 2**31, 2**53, 2**63 - 1],
        str: [t for t in TEXTS if t] + ["x" * 20_000],
        bool: [True],
    }
    from ready_steady_go.store.record import CHECKER

    def hostile(record):
        row = json.loads(to_line(record))
        for rule in rng.sample(CHECKER.rules, 20):
            known = [k for k in rule.kinds if k in kinds]
            if known and rule.name not in ("schema", "id", "time"):
                row[rule.name] = rng.choice(kinds[rng.choice(known)])
        return row

    for start in range(0, round(500 * share), 25):
        rows = [hostile(record) | dict(id=f"{start}-{i}") for i, record in enumerate(toy_records(25))]
        with new_folder():
            Path("j").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
            Path("sound").write_text("".join(to_line(r) + "\n" for r in toy_records(25)), encoding="utf-8")
            fault = fault_in(report_fault, "j") or fault_of(run_command(["compare", "j", "sound"]))
            for i in range(25):
                yield f"records {start} to {start + 24}, one of them", fault if not i else None


def report_fault(path):
    "Make all parts of a report; return a fault if one of them is not harmless."
    from ready_steady_go.report import overview, sections
    from ready_steady_go.report.data import load_results

    os.mkdir("csv")
    data = load_results([path, "sound"])
    names = ("best_batch", "over_models", "over_batch_size", "over_sequence_length", "unranked", "all_records")
    for item in [*overview.overview(data), *(item for name in names for item in getattr(sections, name)(data))]:
        shown = item._repr_mimebundle_()
        html = shown.get("text/html", "") + shown.get("image/svg+xml", "")
        if "<script" in html or any(ord(c) < 32 and c not in "\n\t" for c in html):
            return f"{type(item).__name__}: harmful HTML"
        if hasattr(item, "save"):
            item.save(Path("csv"))
    for file in Path("csv").glob("*.csv"):
        with file.open(encoding="utf-8", newline="") as f:
            cells = [cell for row in csv.reader(f) for cell in row]
        signs = ("=", "@", "+", "＝", "\u200b", ";=")
        if bad := [c for c in cells if c.lstrip().startswith(signs)]:
            return f"{file.name}: a formula: {bad[0][:20]!r}"
    return None


def make_files():
    "Make hostile files in the current folder; return their names."
    os.mkfifo("pipe.toml"), os.mkdir("folder.toml"), os.symlink("loop.toml", "loop.toml")
    with open("endless.toml", "wb") as f:
        f.truncate(2**36)  # a hole: it needs no room on disk
    row = b'{"schema":1,"model":"a","bs":8,"throughput":1.0}\n'
    contents = {
        "empty": b"",
        "nul": b"\0" * 1000,
        "binary": bytes(range(256)) * 40,
        "deep": b"[" * 100_000,
        "object": b'{"a":' * 100_000,
        "deeper": b'{"schema":1,"model":' + b"[" * 100_000 + b"\n" + row,
        "toml": b"[[run]]\nmodel = " + b"[" * 100_000,
        "dotted": b"[[run]]\n" + b"a." * 5000 + b"a = 1\n",
        "number": b"[[run]]\nmodel = 'a'\nsize = " + b"9" * 9999,
        "hex": b"[[run]]\nmodel = 'a'\nsize = 0x" + b"f" * 9999,
        "runs": b"[[run]]\nmodel = 'a'\n" * 20_000,
        "lists": b"[[run]]\nmodel = 'a'\n"
        + b"".join(b"%s = %s\n" % (k, str(list(range(300))).encode()) for k in (b"size", b"lr", b"clip", b"seed")),
        "mark": b"\xef\xbb\xbf" + row * 2,
        "utf16": row.decode().encode("utf-16"),
        "crlf": row.replace(b"\n", b"\r\n") * 2,
        "table": b"id,gpu,n_gpus,family,model,mode,precision,value,unit\n"
        + b"x,T4,1,timm,resnet50,train,fp16,%s,samples/s\n" % (b"9" * 400),
        "nan": b"id,gpu,n_gpus,family,model,mode,precision,value,unit\n"
        + b"x,T4,nan,timm,resnet50,train,fp16,nan,it/s\ny,T4,1e309,timm,a,b,c,-inf,ms/step\n",
        "wide": b"id," * 100_000 + b"\n",
        "quote": b'id,gpu\n"' + b"x" * 300_000,
    }
    for name, data in contents.items():
        Path(f"{name}.toml").write_bytes(data)
    return [*sorted(p.name for p in Path.cwd().iterdir()), "/dev/zero", "/proc/self/mem", "nowhere.toml", "x" * 300 + ".toml", "-"]


def hostile_files(rng, share):
    "Devices, pipes, folders, endless lines and deep nesting, for every command that reads a file."
    readers = {
        "check": ["check", "FILE"],
        "check as JSON": ["check", "FILE", "--json"],
        "compare": ["compare", "FILE", "FILE"],
        "push": ["push", "FILE"],
        "suite": ["suite", "FILE", "--list"],
        "pull": ["pull", "a/b", "--out", "FILE"],
        "run": ["--model", "toy", "--bs", "8", "--out", "FILE"],
        "reference": ["report", "--reference", "FILE", "--format", "pdf"],
        "reference, too": ["report", "nowhere", "--reference", "FILE"],
        "a long page": ["report", "--out", "x" * 250 + ".html"],
    }
    with new_folder():
        names = make_files()
    pairs = [(reader, name) for reader in readers for name in names]
    for reader, name in rng.sample(pairs, round(len(pairs) * share)):
        with new_folder():
            make_files()
            args = [name if word == "FILE" else word for word in readers[reader]]
            yield f"{reader}: {name[:40]}", fault_of(run_command(args))


# Boxes on which something is missing


def drop_rights():
    "Give up the right of root to write anywhere."
    data = (ctypes.c_uint32 * 6)()
    ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), data)  # version 3 of the interface, this process


def read_only_folder():
    "Take away the right to write to the current folder."
    os.chmod(".", 0o555)
    drop_rights()


def deleted_folder():
    "Work in a folder that is gone."
    os.mkdir("gone"), os.chdir("gone"), os.rmdir("../gone")


def limit(kind, most):
    "Bound something that a process may use."
    resource.setrlimit(kind, (most, most))


BOXES = {
    "no HOME": lambda: os.environ.pop("HOME", None),
    "a HOME that is not there": lambda: os.environ.update(HOME="/nowhere"),
    "no temporary folder": lambda: (os.environ.update(TMPDIR="/nowhere"), setattr(tempfile, "tempdir", "/nowhere")),
    "a full disk": lambda: limit(resource.RLIMIT_FSIZE, 4096),
    "a read-only folder": read_only_folder,
    "a deleted folder": deleted_folder,
    "no PATH": lambda: os.environ.pop("PATH", None),
}
BOX_COMMANDS = (
    ["--model", "toy", "--bs", "8,16,128", "--out", "new"],
    ["--model", "toy", "--bs", "8,16,128", "--json"],
    ["report", "j"],
    ["compare", "j", "k"],
    ["suite", "quick", "--list"],
    ["check", "j"],
    ["push", "j", "--project", "p"],
    ["pull", "a/b"],
)


def boxes(rng, share):
    "Commands on a box without a home, a temporary folder, room on disk, or the right to write."
    pairs = [(box, args) for box in BOXES for args in BOX_COMMANDS]
    for box, args in rng.sample(pairs, round(len(pairs) * share)):
        with new_folder():
            for name in "jk":
                Path(name).write_text("".join(to_line(r) + "\n" for r in toy_records(3)), encoding="utf-8")
            before = Path("j").read_bytes()
            fault = fault_of(run_command(args, prepare=BOXES[box]))
            os.chmod(".", 0o755)
            yield f"{box}: rsg {args}", fault or (None if Path("j").read_bytes() == before else "the journal is changed")


# Children that do not behave

DEEDS = {
    "ignores signals": "[signal.signal(n, signal.SIG_IGN) for n in (1, 2, 15)]; atexit.register(time.sleep, 600)",
    "starts programs": "subprocess.Popen(['sleep', '600'], start_new_session=True)",
    "copies itself": "os.fork() or time.sleep(600)",
    "writes garbage": "os.write(1, b'loss: 0.3\\n')",
    "writes bytes": "os.write(1, bytes(range(256)))",
    "writes deep JSON": "os.write(1, b'[' * 100_000 + b'\\n')",
    "answers another question": "print(json.dumps(dict(event='record', id=99, record={})), flush=True)",
    "answers without a record": "print(json.dumps(dict(event='record', id=question['id'])), flush=True)",
    "answers with another type": "print(json.dumps(dict(event='record', id=question['id'], record=[1])), flush=True)",
    "answers with unknown fields": "print(json.dumps(dict(event='record', id=question['id'], record=dict(x=1))), flush=True)",
    "answers with wrong types": "print(json.dumps(dict(event='record', id=question['id'], record=dict(model=5, bs='x'))), flush=True)",
"answers twice": "send(event='record', record=dict(question['spec'], outcome='oom'))",
    "answers for another point": "question['spec']['bs'] = 48",
    "beats without a phase": "send(event='beat')",
    "beats with wrong types": "send(event='beat', phase='steady', throughput='x', ci95=[1], duration={})",
    "refuses": "send(event='refused', message='no \\x1b[2J\\n\\ud800')",
    "writes control characters": "os.write(2, b'\\x1b[2J\\xff' * 99999 + b'\\n'); os._exit(3)",
    "closes its pipes": "os.close(1); os.close(0)",
    "leaves": "os._exit(0)",
    "is killed": "os.kill(os.getpid(), 9)",
    "crashes": "os.kill(os.getpid(), 11)",
}


def children(rng, share):
    "A child that writes garbage, starts programs, ignores signals or dies at one of three points: each point has one record."
    for name in rng.sample(sorted(DEEDS), max(1, round(len(DEEDS) * share))):
        code = CHILD.replace('    spec, ok =', f"    if question['spec']['bs'] == 16: {DEEDS[name]}\n    spec, ok =")
        code = f"import atexit, os, signal, subprocess, time\n{code}"
        start = partial(Child, (sys.executable, "-I", "-S", "-c", code))
        with new_folder():
            done = run_command(["--model", "toy", "--bs", "8,16,24", "--out", "j"], start)
            rows = [json.loads(line) for line in Path("j").read_bytes().splitlines()] if Path("j").exists() else []
            points = [row["bs"] for row in rows]
            wanted = [8] if name == "refuses" else [8, 16, 24]
            yield f"a child {name}", fault_of(done) or (None if points == wanted else f"records of {points}: {done.err[-200:]}")


# Providers that give hostile answers

PRICE_KEY = "a-key-that-is-not-one"
HEAD = b"HTTP/1.1 %d x\r\nConnection: close\r\n%s\r\n"
BODIES = [
    b"",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b" " * 2**22,
    b"9" * 9999,
    b"\xff\x00",
    PRICE_KEY.encode(),
    *(json.dumps(wrap(dict(dph_total=v, costPerHr=v))).encode() for v in VALUES for wrap in (lambda x: x, lambda x: dict(instances=x))),
    json.dumps(dict(dph_total=0.5, machine_id=PRICE_KEY, geolocation="\x1b[2J", num_gpus=1e400)).encode(),
    json.dumps(dict(data=dict(pod=[1]))).encode(),
]


def answer_once(server, data):
    "Answer each connection with these bytes."
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            try:
                connection.recv(65536)
                connection.sendall(data)
            except OSError:
                continue


def price_fault(data, provider):
    "Ask a server that answers with these bytes; return a fault unless the price is sound, or there is a note of one line without the key."
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=answer_once, args=(server, data), daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        env = dict(vast=dict(RSG_VAST_URL=url, CONTAINER_ID="883", CONTAINER_API_KEY=PRICE_KEY),
                   runpod=dict(RSG_RUNPOD_URL=url, RUNPOD_POD_ID="x", RUNPOD_API_KEY=PRICE_KEY))[provider]  # fmt: skip
        price = find_price(None, env, Path("/nowhere"), 3.0, Path("/nowhere"))
        server.shutdown(socket.SHUT_RDWR)
    if PRICE_KEY in str(price):
        return "the key is in the price"
    if price.usd_per_hour is None:
        return None if price.note and price.note.isprintable() else f"the note is {price.note!r}"
    return None if 0 < price.usd_per_hour < 1e4 and str(price).isprintable() else f"the price is {price}"


def prices(rng, share):
    "Answers of a provider with wrong values, no end, or no HTTP."
    answers = [HEAD % (code, head) + body for body in BODIES for code, head in ((200, b""), (rng.choice((301, 401, 429, 500, 999)), b""))]
    answers += [HEAD % (302, b"Location: http://localhost:9/\r\n"), HEAD % (200, b"Content-Length: 99\r\n") + b"{", b"hello", b""]
    answers += [HEAD % (200, b"X: %s\r\n" % (b"x" * 10**6)), HEAD % (200, b"Content-Encoding: gzip\r\n") + b"\x1f\x8b" + b"\0" * 99]
    for data in rng.sample(answers, round(len(answers) * share)):
        for provider in ("vast", "runpod"):
            yield f"{provider}: {data[:40]!r}", fault_in(price_fault, data, provider)


# Signals

SIZES = [8, 16, 24, 32, 40, 48, 56, 64, 128, 256]
FITS = 100
BUSY_CHILD = """
import sys
sys.path.insert(0, ROOT)
from ready_steady_go.box.process import answer_questions, begin_child
begin_child()
import os, signal, subprocess, time
if IGNORES: [signal.signal(n, signal.SIG_IGN) for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)]

def litter():
    subprocess.Popen(["sleep", "600"])
    subprocess.Popen(["sleep", "600"], start_new_session=True)
    os.fork() or time.sleep(600)

def answer(question, send):
    if question["do"] == "check":
        specs = [dict(s, family="timm", model=s["model"].removeprefix("timm:"), size=8) for s in question["specs"]]
        return dict(event="checked", specs=specs, machine=TOY)
    if question["spec"]["bs"] == 16: litter()
    for _ in range(3):
        send(dict(event="beat", phase="steady"))
        time.sleep(0.003)
    spec, ok = question["spec"], question["spec"]["bs"] < FITS
    measured = dict(throughput=100.0, step_ms=10.0, windows=[[10, 100.0]] * 400) if ok else {}
    return dict(event="record", record=dict(spec, **TOY, **measured, run_number=1, outcome="ok" if ok else "oom"))

answer_questions(answer)
""".replace("FITS", str(FITS)).replace("TOY", repr(TOY)).replace("ROOT", repr(str(ROOT)))
SIGNALS = dict.fromkeys(("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP"), ()) | dict(SIGSTOP=("SIGCONT",))  # a signal, and what follows it
VICTIMS = ("parent",), ("child",), ("parent", "child")
ATTACKS_OF_RUN = 5  # on one journal; then the run is repeated until it is complete


class Reporting(Journal):
    "A journal that reports each record when it is on disk."

    def append(self, record):
        super().append(record)
        os.write(1, f"done {record.id}\n".encode())


def start_busy(ignores):
    "Return a child that beats, and whose model starts programs and a copy of itself; report its process id."
    child = Child((sys.executable, "-I", "-S", "-c", BUSY_CHILD.replace("IGNORES", str(ignores))))
    os.write(1, f"child {child.process.pid}\n".encode())
    return child


def be_sweep(path, mark, writes, ignores):
    "Measure all sizes in this forked process, and leave with the exit code of the command."
    os.environ[MARK] = mark
    os.dup2(writes, 1)
    sys.stdout = open(os.devnull, "w", encoding="utf-8")
    os.dup2(os.open(f"{path}.err", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace")
    code, request = 1, Request([Spec(model="toy")], RunOptions(bs=SIZES, wandb="off"))
    try:
        runner = Runner(start=partial(start_busy, ignores))
        code = campaign.run([request], Screen(as_json=True, quiet=True), time.monotonic(), runner, Reporting(path))
    except RuntimeError:
        pass  # the child was ended before it measured
    except BaseException:
        traceback.print_exc()
    os._exit(code)


def hit(pids, name, rng):
    "Send a signal and what follows it to some processes."
    for each in (name, *SIGNALS[name]):
        for pid in pids:
            send_signal(pid, each)
        time.sleep(rng.random() * 0.02)


def sweep(path, rng, name, victims):
    "Run the sweep and attack the victims at a random moment. Return a fault or None, the reported ids, and True if it was completed."
    ids, child, after, mark = [], None, rng.randint(1, 12), uuid.uuid4().hex
    reads, writes = os.pipe()
    pid = os.fork()
    if not pid:
        be_sweep(path, mark, writes, rng.random() < 0.3)
    os.close(writes)
    with os.fdopen(reads) as reports:
        for n, line in enumerate(reports, 1):
            word, _, rest = line.strip().partition(" ")
            ids += [rest] * (word == "done")
            child = int(rest) if word == "child" else child
            if n == after and victims:
                time.sleep(rng.random() * 0.02)
                hit([pid] * ("parent" in victims) + [child] * ("child" in victims), name, rng)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    wanted = {0} | ({1} if "child" in victims else set())  # a point whose child was ended has failed
    if "parent" in victims:
        wanted.add(-signal.SIGKILL if name == "SIGKILL" else 128 + getattr(signal, name))
    left = left_behind(-1, mark)
    fault = f"{len(left)} processes left" if left else None if code in wanted else f"exit code {code}"
    return fault, ids, code == 0


def fault_of_journal(path, reported):
    "Return a fault if a record of a complete run is lost, doubled or torn, else None."
    rows = [json.loads(line) for line in path.read_bytes().splitlines() if line]
    ids, answered = Counter(row["id"] for row in rows), Counter(row["bs"] for row in rows if row["outcome"] == "ok")
    lost, doubled = len(set(reported) - set(ids)), [n for n in (*ids.values(), *answered.values()) if n > 1]
    missing = [bs for bs in SIZES if bs < FITS and not answered[bs]]
    return f"{lost} lost, {len(doubled)} doubled, missing {missing}" if lost or doubled or missing else None


def kills(rng, share):
    "Signals to the parent, its child or both at a random moment; then the run is completed."
    pairs = list(itertools.product(SIGNALS, VICTIMS)) * 6
    rng.shuffle(pairs)
    pairs = pairs[: max(1, round(len(pairs) * share))]
    for start in range(0, len(pairs), ATTACKS_OF_RUN):
        with new_folder() as folder:
            os.mkdir("temporary")
            before, tempfile.tempdir = tempfile.tempdir, str(folder / "temporary")
            path, reported = folder / "j", []
            try:
                for name, victims in pairs[start : start + ATTACKS_OF_RUN]:
                    fault, ids, _ = sweep(path, rng, name, victims)
                    reported += ids
                    new = os.listdir("temporary")
                    yield f"{name} to {victims}", fault or (f"temporary files left: {new[:3]}" if new else None)
                fault, ids, done = sweep(path, rng, "", ())
                traced = "Traceback" in Path(f"{path}.err").read_text(encoding="utf-8", errors="replace")
                fault = fault or (None if done else "it is not completed") or ("a traceback" if traced else None)
                yield f"the run after {min(ATTACKS_OF_RUN, len(pairs))} signals", fault or fault_of_journal(path, [*reported, *ids])
            finally:
                tempfile.tempdir = before


# One row for each class.
CLASSES = {
    "commands": command_lines,
    "faults": journal_faults,
    "truncations": truncations,
    "resumes": resumes,
    "records": hostile_records,
    "files": hostile_files,
    "boxes": boxes,
    "children": children,
    "prices": prices,
    "kills": kills,
}


def attack(name, rng, share):
    "Try a class; print what does not hold, and return the counts."
    began, tried, bad = time.monotonic(), 0, []
    for attempt, fault in CLASSES[name](rng, share):
        tried += 1
        if fault:
            bad.append(attempt)
            if len(bad) <= 10:
                print(f"{name}: {attempt!r}: {fault!r}", flush=True)
    return dict(tried=tried, held=tried - len(bad), not_held=len(bad), seconds=round(time.monotonic() - began, 1))


def versions():
    "Return the date, and the versions of what is attacked."
    rsg, python = ready_steady_go.__version__, sys.version.split()[0]
    return dict(date=time.strftime("%Y-%m-%d"), rsg=rsg, python=python, linux=os.uname().release.partition("-")[0], cores=os.cpu_count())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=1.0, help="of the attempts")
    parser.add_argument("--only", default=",".join(CLASSES), help="classes, with commas")
    a = parser.parse_args()
    if not sys.platform.startswith("linux"):
        parser.error("it reads /proc: run it on Linux")
    for name in [n for n in os.environ if n.startswith(("WANDB", "VAST", "RUNPOD", "CONTAINER"))]:
        del os.environ[name]
    found = {}
    with tempfile.TemporaryDirectory(prefix="rsg-attack-") as home:
        os.environ["HOME"] = home
        for name in a.only.split(","):
            found[name] = attack(name, random.Random(f"{a.seed} {name}"), a.share)
    print(f"{'class':14}{'tried':>8}{'held':>8}{'not held':>10}{'seconds':>10}")
    for name, n in found.items():
        print(f"{name:14}{n['tried']:>8,}{n['held']:>8,}{n['not_held']:>10,}{n['seconds']:>10}")
    print(json.dumps(dict(versions(), seed=a.seed, share=a.share, classes=found, not_held=sum(n["not_held"] for n in found.values()))))
    return int(any(n["not_held"] for n in found.values()))


if __name__ == "__main__":
    sys.exit(main())
