"The live page: it follows a journal that grows, is cut, replaced or broken, and answers nobody else."

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
from synthetic import ladder

from ready_steady_go.commands.cli import main
from ready_steady_go.store.record import to_line

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"]
PATIENCE_S = 60  # a busy machine


def add(path, records, how="a"):
    "Append records to a journal, or write them anew."
    with open(path, how, encoding="utf-8") as out: out.write("".join(to_line(r) + "\n" for r in records))


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    "Serve a journal of one model; return its path, the port, and the process."
    folder = tmp_path_factory.mktemp("secret-folder")
    journal = folder / "night.jsonl"
    add(journal, ladder(model="synthetic-one"))
    command = [sys.executable, "-m", "ready_steady_go", "dashboard", str(journal)]
    env = {k: v for k, v in os.environ.items() if k != "SSH_CONNECTION"}
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    line = process.stdout.readline()
    yield journal, int(line.split("/ ")[0].rpartition(":")[2]), process
    process.kill()
    process.communicate()


def answer(port, path="/", method="GET", host=None):
    "Return status and text of an answer."
    asked = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    asked.request(method, path, headers={"Host": host or f"localhost:{port}"})
    got = asked.getresponse()
    found = got.status, got.read().decode()
    asked.close()
    return found


def page_with(port, word):
    "Return the page as soon as it has a word."
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if word in (text := answer(port)[1]): return text
        time.sleep(0.1)
    raise AssertionError(f"the page never had {word!r}: {answer(port, '/version')}")


def test_only_the_page_and_its_version_are_served_and_only_here(served):
    journal, port, _ = served
    text = page_with(port, "synthetic-one")
    assert str(journal.parent) not in text and "night.jsonl" in text and "<script src" not in text
    assert answer(port, "/version")[0] == 200
    refused = [answer(port, path)[0] for path in ("/night.jsonl", "/../night.jsonl", "/etc/passwd", "/%2e%2e/night.jsonl")]
    assert refused == [404] * 4 and answer(port, method="POST")[0] == 501
    assert [answer(port, host=name)[0] for name in ("evil.example", f"evil.example:{port}", "127.0.0.1", "[::1]")] == [421, 421, 200, 200]


@pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium here: apt-get install chromium")
def test_an_open_page_follows_the_journal_and_keeps_the_choice(served):
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[dev]'")
    journal, port, _ = served
    requested, errors = [], []
    with sync_api.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        page.set_default_timeout(PATIENCE_S * 1000)
        page.on("request", lambda r: requested.append(r.url))
        page.on("console", lambda m: errors.append(m.text))
        page.on("pageerror", lambda e: errors.append(str(e)))
        page_with(port, "synthetic-one")
        page.goto(f"http://localhost:{port}/")
        has = lambda text: page.wait_for_function("t => document.querySelector('select[name=model]').textContent.includes(t)", arg=text)
        has("synthetic-one")
        add(journal, ladder(model="synthetic-two"))  # it grows
        has("synthetic-two")
        page.select_option("select[name=model]", index=1)
        chosen, address = page.locator("select[name=model]").input_value(), page.url
        assert "synthetic-two" in chosen or "synthetic-one" in chosen
        whole = journal.read_bytes()
        journal.write_bytes(whole + b"milk\n" * 3)  # broken: the last good page stays, and says why
        page.wait_for_selector("#live-problems:not([hidden])")
        assert "night.jsonl" in page.locator("#live-problems").inner_text() and page.locator("select[name=model]").input_value() == chosen
        journal.write_bytes(whole[:-20])  # cut in the middle of a line
        page.wait_for_selector("#live-problems", state="hidden")
        other = journal.with_name("other.jsonl")
        add(other, [*ladder(model="synthetic-one"), *ladder(model="synthetic-two"), *ladder(model="synthetic-three")])
        os.replace(other, journal)  # replaced
        has("synthetic-three")
        assert (page.locator("select[name=model]").input_value(), page.url) == (chosen, address)
        browser.close()
    assert errors == [] and {url.split("/")[2] for url in requested if url.startswith("http")} == {f"localhost:{port}"}


def test_ctrl_c_ends_it_in_order(served):
    journal, port, process = served
    add(journal, ladder(model="synthetic-last"))
    time.sleep(0.3)  # it makes a page now
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, out.strip()) == (0, "") and err.splitlines() == ["rsg: the dashboard has ended"]
    with pytest.raises(OSError): answer(port)


WRONG = {
    "an open address": (["--host", "0.0.0.0"], "--host 0.0.0.0: other machines could read the page"),
    "no port": (["--port", "high"], "--port high"),
    "too high a port": (["--port", "70000"], "--port 70000"),
    "a project": (["team/gpus"], "run rsg pull team/gpus"),
    "no folder": (["nowhere/night.jsonl"], "the folder nowhere does not exist"),
    "a folder": (["."], "this is no file"),
}


@pytest.mark.parametrize("args,words", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_request_is_one_line(args, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left: main(["dashboard", *args])
    out, err = capsys.readouterr()
    assert (left.value.code, out, err.count("\n")) == (2, "", 1) and words in err


def test_a_port_in_use_is_one_line(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "nice", lambda more: 0)  # of this process
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with pytest.raises(SystemExit) as left: main(["dashboard", "--port", port])
    assert left.value.code == 2 and f"--port {port}: another program uses this port" in capsys.readouterr().err
