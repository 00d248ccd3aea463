"""Take the pictures of reports that the site and README.md show, into docs/site/pictures. Needs Chromium.

    python tools/site_pictures.py
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs/site/pictures"
JOURNAL = ROOT / "benchmarks/results/resnets_fp32_2cores.jsonl"
QUIET = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update".split()
# file: arguments of rsg report, width and height in pixels, color scheme; without a journal the report shows the sample
SHOTS = {
    "report-resnets.png": ([str(JOURNAL)], 1000, 1470, "light"),
    "report-light.png": ([], 1000, 1250, "light"),
    "report-phone-dark.png": ([], 390, 1700, "dark"),
}


def write_report(folder, arguments):
    "Write a report as one HTML file; returns its path."
    command = [sys.executable, "-m", "ready_steady_go", "report", *arguments, "--format", "html", "--out", "report.html", "--quiet"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "report.html"


def shoot(browser, page, picture, width, height, scheme):
    "Take the top of a page as a PNG of 256 colors."
    context = browser.new_context(viewport=dict(width=width, height=height), color_scheme=scheme)
    tab = context.new_page()
    tab.goto(page.as_uri())
    tab.screenshot(path=picture, clip=dict(x=0, y=0, width=width, height=height))
    context.close()
    Image.open(picture).convert("RGB").quantize(256).save(picture, optimize=True)


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None: sys.exit("no Chromium on this machine; install the package chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        for name, (arguments, width, height, scheme) in SHOTS.items():
            with tempfile.TemporaryDirectory() as folder:
                shoot(browser, write_report(Path(folder), arguments), PICTURES / name, width, height, scheme)
            print(PICTURES.joinpath(name).relative_to(ROOT))
        browser.close()


if __name__ == "__main__":
    main()
