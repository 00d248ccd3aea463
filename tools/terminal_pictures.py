"""Take pictures of `rsg` in a terminal as SVG files, into docs/site/pictures. Needs tmux and rich.

    python tools/terminal_pictures.py help error         the named pictures
    python tools/terminal_pictures.py recording          a run as a film of 20 seconds, of up to six runs the steadiest
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
RUN = "rsg resnet10t --size 32 --search-until 512 --device cpu --wandb off"
# picture: command, columns, lines, theme
SHOTS = {
    "help-dark": ("rsg --help", 80, 52, "dark"), "help-light": ("rsg --help", 120, 52, "light"),
    "error-dark": ("rsg --model resnet5O --fp16", 80, 4, "dark"), "error-light": ("rsg --model resnet50 --bs 64-8", 120, 4, "light"),
    "run-dark": (RUN, 80, 45, "dark"), "run-light": (RUN, 120, 45, "light"),
}  # fmt: skip
FILM_S, FRAME_S = 20.0, 0.4
BODY = re.compile(r'(<g transform="translate\([^>]*clip-path="url\(#\w+-clip-terminal\)">)(.*)</g>\s*</svg>', flags=re.S)


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


def svg_of(screen, command, columns, theme, title="", name="t"):
    "Return a screen as SVG, below the command that made it. `name` begins its classes and ids."
    console = Console(record=True, width=columns, file=open("/dev/null", "w", encoding="utf-8"), force_terminal=True)
    text = Text.from_ansi("\n".join([f"$ {command}", *screen.rstrip().splitlines(), ""]))  # rich cuts the last line
    console.print(text, soft_wrap=True)
    svg = console.export_svg(title=title, theme=THEMES[theme], unique_id=name)
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.S)  # fonts of another server


def slim(svg):
    "Return an SVG of a terminal without what only matters where a line is longer than the terminal, and with short spaces."
    svg = re.sub(r'<clipPath id="\w+-line-.*?</clipPath>\s*| clip-path="url\(#\w+-line-\d+\)"', "", svg, flags=re.S)
    return re.sub(r"<text [^>]*>\s*</text>", "", svg).replace("&#160;", "\u00a0")


def film_of(frames, command, columns, title):
    "Return an SVG that shows frames one after the other: (second, screen). The last one stays for three seconds."
    pictures = [slim(svg_of(screen, command, columns, "dark", title, f"t{i}")) for i, (_, screen) in enumerate(frames)]
    tallest = max(pictures, key=lambda svg: float(re.search(r'viewBox="0 0 \S+ (\S+)"', svg)[1]))
    total = frames[-1][0] + 3.0
    starts = [second / total for second, _ in frames]
    rules, groups = [], []
    for i, (svg, start, end) in enumerate(zip(pictures, starts, [*starts[1:], 1.0])):
        a, b = 100 * start, 100 * end
        steps = f"0%{{opacity:{int(not i)}}} {a:.2f}%{{opacity:1}} {b:.2f}%{{opacity:{int(b == 100)}}} 100%{{opacity:{int(b == 100)}}}"
        rules.append(f"@keyframes f{i}{{{steps}}} .f{i}{{opacity:0;animation:f{i} {total:.1f}s step-end infinite}}")
        rules += re.findall(r"\.t\d+-r\d+ \{.*?\}", svg)
        groups.append(f'<g class="f{i}">{BODY.search(svg)[2]}</g>')
    font = re.search(r'"(t\d+-matrix)"', tallest)[1]
    film = tallest.replace(BODY.search(tallest)[2], re.sub(r'"t\d+-matrix"', f'"{font}"', "\n".join(groups)))
    return film.replace("</style>", "\n".join([*rules, "</style>"]), 1)


def shorten(frames):
    "Drop frames that repeat the last one, and fit the film into `FILM_S`."
    kept = [frame for i, frame in enumerate(frames) if i == 0 or frame[1] != frames[i - 1][1]]
    speed = max(1.0, kept[-1][0] / FILM_S)
    return [(second / speed, screen) for second, screen in kept]


def best_half_width(screen):
    "Return the half width of the best point on the last screen of a run, as a share; 0 where it is steady, infinite without one."
    text = re.sub(r"\x1b\[[0-9;]*m", "", screen)
    row = next((line for line in text.splitlines() if re.match(r"\* +\d+ ", line)), "")
    found = re.search(r"([\d,.]+) ± ([\d,.]+)", row)
    if not found or "probe" in row or "refine" in row: return float("inf")
    speed, half = (float(number.replace(",", "")) for number in found.groups())
    return half / speed if "unsteady" in row else 0.0


def record(tries=6):
    "Write the film of the first run whose best point is steady; of `tries` runs without one, of the run with the narrowest interval."
    runs = []
    for _ in range(tries):
        runs.append(list(screens(RUN, 80, 22, FRAME_S)))
        if not best_half_width(runs[-1][-1][1]): break
    frames = min(runs, key=lambda frames: best_half_width(frames[-1][1]))
    half = best_half_width(frames[-1][1])
    if half == float("inf"): sys.exit("no run ended with a confirmed point; see what the command prints")
    if half: print(f"no run was steady: the best point of the film is known to {half:.1%}; on a quiet machine it is better")
    title = f"{frames[-1][0]:.0f} seconds shown in {FILM_S:.0f}" if frames[-1][0] > FILM_S else ""
    (PICTURES / "run.svg").write_text(film_of(shorten(frames), RUN, 80, title), encoding="utf-8")
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
