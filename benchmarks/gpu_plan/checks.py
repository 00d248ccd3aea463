"A check, the bands of its values, and the verdicts."

import math
from collections.abc import Callable
from dataclasses import dataclass, field

OK, MISSED, FAILED, NOTED = "ok", "MISSED", "FAILED", "noted"
NOT_HERE, NO_TIME = "not on this device", "skipped: no time"
WRONG = (MISSED, FAILED)  # exit code 1


@dataclass(frozen=True)
class Band:
    "The values that are accepted."

    low: float = -math.inf
    high: float = math.inf
    card: str = ""  # a part of the GPU's name: the band is for this card only
    source: str = ""  # published, seen or estimated; empty: it must be so on every device
    short: tuple[float, float] | None = None  # in the short form, whose timings are too short to judge

    def ends(self, short):
        "Return both ends in this form of the plan."
        return self.short if short and self.short else (self.low, self.high)


def exactly(n): return Band(n, n)
def yes(): return exactly(1)
def none(): return exactly(0)
def ratio(low, high, source="", short=(0.01, 100)): return Band(low, high, source=source, short=short)
def least(low, source="", short=None): return Band(low, source=source, short=short)
def most(high, source="", short=None, card=""): return Band(high=high, source=source, short=short or (-math.inf, 20 * high), card=card)
def on_h100(low, high, source): return Band(low, high, card="H100", source=source)


@dataclass(frozen=True)
class Check:
    "A row of the plan."

    name: str
    part: int
    seconds: float  # estimate for an H100
    run: Callable  # plan -> value by name
    bands: dict[str, Band | None]  # by value; None: the value is only noted
    needs: str = ""  # `cuda`, `gpu` (no fake), `real` (a GPU or a CPU, no fake) or `triton`


@dataclass
class Value:
    "One judged value."

    name: str
    value: object
    verdict: str
    low: float | None = None
    high: float | None = None
    source: str = ""


@dataclass
class Outcome:
    "A check after its run."

    name: str
    part: int
    seconds: float = 0.0
    values: list[Value] = field(default_factory=list)
    error: str = ""

    def verdicts(self):
        return [v.verdict for v in self.values]


def finite(end):
    "Return an end of a band as JSON can hold it."
    return end if math.isfinite(end) else None


def judge(name, value, band, card, short):
    "Return the verdict on one value. A value that is missing or no number misses its band."
    if value == NOT_HERE: return Value(name, None, NOT_HERE)
    if band and band.card and band.card not in card: return Value(name, value, NOT_HERE)
    if band is None: return Value(name, value, NOTED)
    low, high = band.ends(short)
    good = isinstance(value, int | float) and low <= value <= high  # NaN is not
    return Value(name, value, OK if good else MISSED, finite(low), finite(high), band.source)


def judge_all(check, found, card, short):
    "Return the verdicts on what a check found, in the order of its bands."
    if extra := found.keys() - check.bands.keys(): raise KeyError(f"{check.name} has no band for {', '.join(sorted(extra))}")
    return [judge(name, found.get(name), band, card, short) for name, band in check.bands.items()]


def without_values(check, verdict):
    "Return the values of a check that did not run."
    return [Value(name, None, verdict) for name in check.bands]
