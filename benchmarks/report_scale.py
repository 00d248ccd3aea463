"""The time and the memory of a report on many records.

    python benchmarks/report_scale.py [--counts 1000,10000,100000]

Each line: the records; wall seconds, CPU seconds and peak memory of the table alone (rows, keys, best batches) and of the whole page
(`rsg report`, with all its processes); the page's size, and seconds in a browser from the address to cards and charts, and from another
precision to new ones (a dash where there is no Chromium). Records are synthetic (tests/synthetic.py). The last line is a JSON object;
linear: the CPU seconds of the table that a record costs in the largest count, over those in the one before.
Exit 1: the last count took more than 30 s or 1 GB, or grew faster than the number of records; a page of at most 10,000 records has more
than 3 MB, or takes more than 1 s to open.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]
MOST_S, MOST_BYTES = 30.0, 1e9
SMALL, MOST_HTML_BYTES, MOST_OPEN_S = 10_000, 3e6, 1.0  # a page of at most so many records
TABLE = """
import resource, sys, time
from ready_steady_go.report.data import load_results
began, used = time.perf_counter(), time.process_time()
data = load_results([sys.argv[1]])
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(time.perf_counter() - began, time.process_time() - used, memory, len(data.rows), len(data.best))
"""


def journal(path, n):
    "Write a journal of `n` synthetic records."
    from synthetic import many

    from ready_steady_go.store.record import to_line

    with path.open("w") as f:
        f.writelines(to_line(r) + "\n" for r in many(n))


def tree(pid):
    "Yield a process and its living children: id, bytes held, CPU seconds."
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1])
        user, system = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[11:13]
    except (OSError, ValueError):
        return
    yield pid, pages * resource.getpagesize(), (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    for child in children:
        yield from tree(int(child))


def watched(command, cwd):
    "Run a command; return wall seconds, CPU seconds, and the peak memory of all its processes together."
    began, cpu_s, most = time.perf_counter(), {}, 0
    child = subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while child.poll() is None:
        seen = list(tree(child.pid))
        most = max(most, sum(held for _, held, _ in seen))
        cpu_s |= {pid: seconds for pid, _, seconds in seen}
        time.sleep(0.05)
    if child.returncode:
        sys.exit(f"{command}: exit code {child.returncode}")
    return time.perf_counter() - began, sum(cpu_s.values()), most


def in_browser(path):
    "Return the seconds until the page has its cards and charts, and until another choice is drawn; an empty dict without Chromium."
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium: return {}
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.goto(path.as_uri())
        page.wait_for_selector("#cards .card")
        open_s = page.evaluate("performance.now()") / 1e3
        choose = """() => {
            const began = performance.now(), select = document.querySelector("#choice select[name=precision]");
            select.selectedIndex = select.options.length - 1;
            select.dispatchEvent(new Event("change", { bubbles: true }));
            return performance.now() - began;
        }"""
        choose_s = page.evaluate(choose) / 1e3
        browser.close()
    return dict(open_s=round(open_s, 2), choose_s=round(choose_s, 2))


def measured(n, folder):
    "Measure one count."
    path = folder / f"{n}.jsonl"
    journal(path, n)
    done = subprocess.run([sys.executable, "-c", TABLE, str(path)], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    table_s, table_cpu_s, table_bytes, rows, tops = map(float, done.stdout.split())
    command = [sys.executable, "-m", "ready_steady_go", "report", str(path), "--format", "html", "--out", str(folder / "r.html")]
    page_s, page_cpu_s, page_bytes = watched(command, ROOT)
    numbers = dict(table_s=table_s, table_cpu_s=table_cpu_s, page_s=page_s, page_cpu_s=page_cpu_s)
    numbers = {name: round(value, 2) for name, value in numbers.items()}
    sizes = dict(journal_bytes=path.stat().st_size, html_bytes=os.path.getsize(folder / "r.html"))
    about = dict(records=n, rows=int(rows), best=int(tops), table_bytes=int(table_bytes), page_bytes=page_bytes)
    return about | numbers | sizes | in_browser(folder / "r.html")


def line(one):
    "Return a count as a line of the table."
    mb = lambda name: f"{one[name] / 1e6:>7.0f}"
    table = f"{one['table_s']:>9.1f}{one['table_cpu_s']:>7.1f}{mb('table_bytes')}"
    page = f"{one['page_s']:>9.1f}{one['page_cpu_s']:>7.1f}{mb('page_bytes')}{one['html_bytes'] / 1e6:>9.1f}"
    opened = "".join(f"{one[name]:>8.2f}" if name in one else f"{'-':>8}" for name in ("open_s", "choose_s"))
    return f"{one['records']:>9,}{table}{page}{opened}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", default="1000,10000,100000", help="records, ascending")
    counts, found = [int(n) for n in parser.parse_args().counts.split(",")], []
    print(f"{'records':>9}{'table s':>9}{'CPU s':>7}{'MB':>7}{'page s':>9}{'CPU s':>7}{'MB':>7}{'html MB':>9}{'open s':>8}{'choose':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for n in counts:
            found.append(measured(n, Path(folder)))
            print(line(found[-1]), flush=True)
    cost = [one["table_cpu_s"] / one["records"] for one in found]
    linear = round(cost[-1] / cost[-2], 2) if len(cost) > 1 else None
    last, small = found[-1], [one for one in found if one["records"] <= SMALL]
    fits = all(one["html_bytes"] <= MOST_HTML_BYTES and one.get("open_s", 0) <= MOST_OPEN_S for one in small)
    ok = last["page_s"] <= MOST_S and last["page_bytes"] <= MOST_BYTES and (linear is None or linear < 1.5) and fits
    about = dict(load=os.getloadavg()[0], cores=os.cpu_count(), date=time.strftime("%Y-%m-%d", time.gmtime()))
    print(json.dumps(dict(counts=found, linear=linear, ok=ok) | about))
    return int(not ok)


if __name__ == "__main__":
    sys.exit(main())
