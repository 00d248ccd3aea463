"""Take pictures of `rsg` in a terminal as SVG files, into docs/site/pictures. Needs tmux and rich.

    python tools/terminal_pictures.py help error         the named pictures
    python tools/terminal_pictures.py recording          a run as a film of 20 seconds; measures until its best point is steady
    python tools/terminal_pictures.py                    all of them

A terminal in tmux shows what a user sees: colours, and lines that are written over. Text stays text, so it can be searched and copied.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI, TerminalTheme
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs/site/pictures"
LIGHT = TerminalTheme(
    (255, 255, 255), (36, 41, 47),
    [(36, 41, 47), (190, 30, 45), (17, 99, 41), (130, 80, 0), (9, 105, 218), (130, 80, 223), (27, 124, 131), (110, 119, 129)],
)  # fmt: skip
THEMES = dict(light=LIGHT, dark=DIMMED_MONOKAI)
RUN = "rsg lstm:classifier --seq-len 8 --hid-dim 32 --device cpu --wandb off"
# picture: command, columns, lines, theme
SHOTS = {
    "help-dark": ("rsg --help", 80, 52, "dark"), "help-light": ("rsg --help", 120, 52, "light"),
    "error-dark": ("rsg --model resnet5O --fp16", 80, 4, "dark"), "error-light": ("rsg --model resnet50 --bs 64-8", 120, 4, "light"),
    "run-dark": (RUN, 80, 22, "dark"), "run-light": (RUN, 120, 20, "light"),
}  # fmt: skip
FILM_S, FRAME_S = 20.0, 0.4


def tmux(server, *args):
    "Call tmux on a server of this program's own; return what it prints."
    return subprocess.run(["tmux", "-L", server, *args], check=True, capture_output=True, text=True).stdout


def screens(command, columns, lines, every_s):
    "Yield (seconds, screen with colours) while a command runs in a terminal, and its last screen."
    with tempfile.TemporaryDirectory(prefix="rsg-pictures-") as folder:
        server = Path(folder).name  # a new one for each command: one that was stopped takes a moment to end
        ends = f"tmux -L {server} wait-for -S done; sleep 5"
        shell = f"cd {folder}; PATH={Path(sys.executable).parent}:$PATH; clear; {command}; {ends}"
        tmux(server, "new-session", "-d", "-s", "shot", "-x", str(columns), "-y", str(lines), "bash", "--norc", "-c", shell)
        waiting = subprocess.Popen(["tmux", "-L", server, "wait-for", "done"])
        began = time.monotonic()
        try:
            while waiting.poll() is None:
                yield time.monotonic() - began, tmux(server, "capture-pane", "-p", "-e", "-t", "shot")
                time.sleep(every_s)
            yield time.monotonic() - began, tmux(server, "capture-pane", "-p", "-e", "-t", "shot")
        finally: tmux(server, "kill-server")


def svg_of(screen, command, columns, theme):
    "Return a screen as SVG, below the command that made it."
    console = Console(record=True, width=columns, file=open("/dev/null", "w", encoding="utf-8"), force_terminal=True)
    text = Text.from_ansi("\n".join([f"$ {command}", *screen.rstrip().splitlines(), ""]))  # rich cuts the last line
    console.print(text, soft_wrap=True)
    svg = console.export_svg(title="", theme=THEMES[theme], unique_id="t")
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.S)  # fonts of another server


def film_of(frames, command, columns):
    "Return an SVG that shows frames one after the other: (second, screen). The last one stays for three seconds."
    pictures = [svg_of(screen, command, columns, "dark") for _, screen in frames]
    tallest = max(pictures, key=lambda svg: float(re.search(r'viewBox="0 0 \S+ (\S+)"', svg)[1]))
    total = frames[-1][0] + 3.0
    starts = [second / total for second, _ in frames]
    rules, groups = [], []
    for i, (svg, start, end) in enumerate(zip(pictures, starts, [*starts[1:], 1.0])):
        a, b = 100 * start, 100 * end
        steps = f"0%{{opacity:{int(not i)}}} {a:.2f}%{{opacity:1}} {b:.2f}%{{opacity:{int(b == 100)}}} 100%{{opacity:{int(b == 100)}}}"
        rules.append(f"@keyframes f{i}{{{steps}}} .f{i}{{opacity:0;animation:f{i} {total:.1f}s step-end infinite}}")
        body = re.search(r'<g transform="translate\([^>]*clip-path="url\(#t-clip-terminal\)">(.*)</g>\s*</svg>', svg, flags=re.S)[1]
        groups.append(f'<g class="f{i}">{body}</g>')
    last = re.search(r'(<g transform="translate\([^>]*clip-path="url\(#t-clip-terminal\)">)(.*)(</g>\s*</svg>)', tallest, flags=re.S)
    return tallest.replace("</style>", "\n".join([*rules, "</style>"]), 1).replace(last[2], "\n".join(groups))


def shorten(frames):
    "Drop frames that repeat the last one, and fit the film into `FILM_S`."
    kept = [frame for i, frame in enumerate(frames) if i == 0 or frame[1] != frames[i - 1][1]]
    speed = max(1.0, kept[-1][0] / FILM_S)
    return [(second / speed, screen) for second, screen in kept]


def is_steady(screen):
    "Return True if the last screen of a run has a best point that is confirmed and steady."
    text = re.sub(r"\x1b\[[0-9;]*m", "", screen)
    best = next((line for line in text.splitlines() if re.match(r"\* +\d+ ", line)), "probe")
    return not any(word in best for word in ("probe", "refine", "unsteady"))


def record(tries=6):
    "Write the film of the first run whose best point is steady; exit if none of `tries` runs is."
    for _ in range(tries):
        frames = list(screens(RUN, 80, 22, FRAME_S))
        if is_steady(frames[-1][1]): break
    else: sys.exit("no run was steady; try again on a quiet machine")
    (PICTURES / "run.svg").write_text(film_of(shorten(frames), RUN, 80), encoding="utf-8")
    print("docs/site/pictures/run.svg")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*SHOTS, "help", "error", "run", "recording", []])
    wanted = parser.parse_args().names or [*SHOTS, "recording"]
    for name, (command, columns, lines, theme) in SHOTS.items():
        if name in wanted or name.partition("-")[0] in wanted:
            *_, (_, screen) = screens(command, columns, lines, 0.2)
            (PICTURES / f"terminal-{name}.svg").write_text(svg_of(screen, command, columns, theme), encoding="utf-8")
            print(f"docs/site/pictures/terminal-{name}.svg")
    if "recording" in wanted: record()


if __name__ == "__main__":
    main()
