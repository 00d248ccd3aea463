"The table of a part, 80 columns wide."

import json
from dataclasses import asdict

from .checks import NO_TIME, WRONG

WIDTH = 80


def number(value):
    "Return a value in at most 9 characters."
    if value is None: return "-"
    if isinstance(value, bool): return "yes" if value else "no"
    if isinstance(value, int): return str(value)
    if isinstance(value, float): return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)[:9]


def band_text(v):
    "Return a band in at most 13 characters."
    low, high = v.low, v.high
    if low is None and high is None: return ""
    if low is None: return f"<= {number(high)}"
    if high is None: return f">= {number(low)}"
    return f"{number(low)}" if low == high else f"{number(low)} - {number(high)}"


def heading(facts, part, short):
    "Return the lines above the table."
    first = f"part {part}, {facts['date']}, {facts['device_name'] or facts['device']}" + (", short form" if short else "")
    known = dict(rsg=facts["rsg"], torch=facts["pytorch"], CUDA=facts["cuda"], driver=facts["driver"], timm=facts["timm"])
    known |= dict(transformers=facts["transformers"], Python=facts["python"])
    lines, line = [first], ""
    for text in (f"{name} {value}" for name, value in known.items() if value):
        if len(line) + len(text) + 2 > WIDTH: lines, line = [*lines, line + ","], ""
        line += (", " if line else "") + text
    titles = f"{'check':<36}{'value':>9}  {'band':<13}  verdict"
    return [*lines, line, "", titles, "-" * WIDTH]


def rows(outcome):
    "Return the lines of one check."
    title, verdicts = f"{outcome.name} ({outcome.seconds:.0f} s)", {*outcome.verdicts()}
    error = [f"  {outcome.error}"[:WIDTH]] if outcome.error else []
    if len(verdicts) == 1 and all(v.value is None for v in outcome.values): return [f"{title:<60}  {verdicts.pop()}", *error]
    lines = [title]
    for v in outcome.values: lines.append(f"  {v.name:<34}{number(v.value):>9}  {band_text(v):<13}  {v.verdict}")
    return lines


def summary(outcomes):
    "Return the last line of the table."
    verdicts = [v for o in outcomes for v in o.verdicts()]
    counted = {verdict: verdicts.count(verdict) for verdict in dict.fromkeys(verdicts)}
    return ", ".join(f"{n} {verdict}" for verdict, n in counted.items())


def as_json(facts, part, short, outcomes):
    "Return the whole part as one JSON object."
    missed = [f"{o.name}: {v.name}" for o in outcomes for v in o.values if v.verdict in WRONG]
    skipped = [o.name for o in outcomes if NO_TIME in o.verdicts()]
    about = dict(part=part, short=short, **facts, missed=missed, skipped=skipped)
    return json.dumps(about | dict(checks=[asdict(o) for o in outcomes]), allow_nan=False)
