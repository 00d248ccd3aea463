"The plots of the page on measuring, drawn from what the benchmarks wrote to `benchmarks/results`, once for light and once for dark."

import json
from pathlib import Path

RESULTS = Path(__file__).resolve().parent.parent / "benchmarks" / "results"
THEMES = {
    "": dict(ink="#222222", grid="#d9d9d9", main="#0b6e99", other="#b3541e"),
    "-dark": dict(ink="#dddddd", grid="#444444", main="#5cb8e6", other="#e8935a"),
}


def last_line(name):
    "The JSON object in the last line of a result."
    return json.loads((RESULTS / name).read_text().rstrip().splitlines()[-1])


def search_replay(fig, look):
    "Plot how often each strategy ends within 1 % of the best batch size, and its GPU seconds."
    found = last_line("search_replay.txt")["strategies"]
    names = list(found)
    left, right = fig.subplots(1, 2, sharey=True)
    colours = [look["main"] if name.startswith("search") else look["other"] for name in names]
    for ax, values, title in (
        (left, [found[n]["within_1_percent"] for n in names], f"curves of {found['search']['curves']} within 1 % of the best"),
        (right, [found[n]["seconds_mean"] for n in names], "GPU seconds for a curve"),
    ):
        bars = ax.barh(names, values, color=colours)
        ax.bar_label(bars, [f"{v:g}" for v in values], padding=3, color=look["ink"])
        ax.set_title(title, loc="left")
        ax.margins(x=0.15)
    left.invert_yaxis()


KINDS = {
    "calm": "noise only", "slow": "slow start", "two": "alternating speeds", "walk": "wandering by 1 % within 3 s",
    "walk2": "wandering, other forms", "spiky": "2 % of the steps stall", "spiky2": "stalls in bursts, 0.5 to 5 %",
    "rare": "1 step in 500 stalls",
}


def coverage(fig, look):
    "Plot how often the 95 % interval holds the true mean, by what disturbs the steps."
    found = last_line("coverage.txt")["kinds"]
    kinds = {kind: found[kind] for kind in KINDS}
    ax = fig.subplots()
    bars = ax.barh([KINDS[k] for k in kinds], [100 * v["covered"] for v in kinds.values()], color=look["main"])
    ax.bar_label(bars, [f"{100 * v['covered']:.1f} %" for v in kinds.values()], padding=3, color=look["ink"])
    ax.axvline(95, color=look["other"], lw=1.5)
    ax.set_xlim(0, 110)
    each = next(iter(kinds.values()))["traces"]
    ax.set_title(f"simulated runs whose interval holds the true mean ({each} of each; promised: 95 %)", loc="left")
    ax.invert_yaxis()


def truth(fig, look):
    "Plot the throughput of rsg over that of a plain loop, turn by turn."
    lines = [line.split() for line in (RESULTS / "truth_fp32_2cores.txt").read_text().splitlines() if " turn " in line]
    turns = {}
    for words in lines: turns.setdefault(words[0], []).append(float(words[-1]))
    ax = fig.subplots()
    for i, ratios in enumerate(turns.values()):
        ax.plot(ratios, [i] * len(ratios), "o", mfc="none", mew=1.5, color=look["main"])
        ax.plot(sorted(ratios)[len(ratios) // 2], i, "|", ms=22, mew=2.5, color=look["other"])
    ax.axvline(1, color=look["ink"], lw=1)
    ax.set_yticks(range(len(turns)), turns)
    ax.set_ylim(-0.6, len(turns) - 0.4)
    ax.set_title("rsg / plain loop: each turn, and the median (two shared CPU cores)", loc="left")
    ax.invert_yaxis()


PLOTS = {"search_replay": (search_replay, (7.4, 2.3)), "coverage": (coverage, (7.4, 2.8)), "truth": (truth, (7.4, 2.5))}


def style(look):
    "matplotlib's settings for one theme."
    ink = {key: look["ink"] for key in ("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor")}
    size = {"font.size": 9, "axes.titlesize": 9, "svg.hashsalt": "rsg", "axes.spines.top": False, "axes.spines.right": False}
    grid = {"axes.grid": True, "axes.grid.axis": "x", "axes.axisbelow": True, "grid.color": look["grid"], "grid.linewidth": 0.6}
    return ink | size | grid


def draw(folder):
    "Write each plot into the folder."
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    for name, (plot, size) in PLOTS.items():
        for theme, look in THEMES.items():
            with plt.rc_context(style(look)):
                fig = plt.figure(figsize=size, layout="constrained")
                plot(fig, look)
                fig.savefig(folder / f"{name}{theme}.svg", transparent=True, metadata={"Date": None})
                plt.close(fig)


def picture(name, alt):
    "The Markdown that shows a plot in both themes."
    one = lambda theme, shown: f"```{{image}} /plots/{name}{theme}.svg\n:alt: {alt}\n:class: only-{shown}\n```"
    return f"{one('', 'light')}\n\n{one('-dark', 'dark')}"
