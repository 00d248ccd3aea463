"rsg tune: the race ends at the right configuration, a wrong one is out, and the answer and its script hold."

import json
import math
import sys
from pathlib import Path

import pytest

from ready_steady_go.run.race import Axis, ProbeResult, Race

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "benchmarks"))

import tune  # noqa: E402

# The race

RACES = 150


@pytest.mark.parametrize("space", tune.SPACES)
def test_the_race_is_right_more_often_than_trying_everything_and_needs_less(space):
    axes = tune.SPACES[space]
    race, plain, turns = (tune.row(axes, way, RACES, 1, 0.6) for way in tune.WAYS)
    assert race["good"] >= 0.93 and plain["good"] < 0.6 and turns["good"] < 0.7
    assert race["probes"] <= turns["probes"] / 2 and race["minutes"] < plain["minutes"] / 3


@pytest.mark.parametrize("space", tune.SPACES)
def test_on_a_calm_machine_nearly_every_race_is_right(space):
    assert tune.row(tune.SPACES[space], "race", RACES, 2, 0.0)["good"] >= 0.95


def test_the_kept_result_is_of_these_races():
    kept = json.loads((ROOT / "benchmarks/results/tune_races.txt").read_text().splitlines()[-1])
    race = {row["space"]: row for row in kept["rows"] if row["way"] == "race"}
    turns = {row["space"]: row for row in kept["rows"] if "turns" in row["way"]}
    assert kept["races"] == 1000 and kept["drift"] == 0.6
    assert all(row["good"] >= 0.95 and row["probes"] <= turns[space]["probes"] / 2 for space, row in race.items())


def drive(race, speed, seconds=3.0, budget=math.inf):
    "Run a race on speeds by configuration; a missing one fails."
    while (config := race.next(budget - seconds * len(race.results))) is not None:
        race.tell(ProbeResult(config, speed.get(config), 0.002, seconds))
    return race


def test_told_results_lead_to_the_same_race():
    axes = tune.SPACES["images, GPU"]
    trials = tune.Trials(tune.Model(axes, tune.random.Random(3)), tune.Machine(tune.random.Random(4), 0.6), tune.random.Random(5))
    first, again = Race(axes, lambda c: tune.allowed(axes, c)), Race(axes, lambda c: tune.allowed(axes, c))
    while (config := first.next()) is not None: first.tell(trials.probe(config))
    for result in first.results:
        assert again.next() == result.config
        again.tell(result)
    assert again.next() is None and again.best == first.best and again.steps == first.steps


def test_a_budget_ends_a_race_with_what_is_known():
    axes = [Axis("precision", ("fp32", "bf16")), Axis("compile", (None, "inductor"), heavy=True)]
    race = drive(Race(axes), {("fp32", None): 100, ("bf16", None): 150, ("bf16", "inductor"): 300}, budget=14)
    assert race.best == ("bf16", None) and "budget" in race.why


def test_a_base_that_fails_ends_the_race():
    race = drive(Race(tune.SPACES["text, GPU"]), {})
    assert len(race.results) == 1 and race.best == race.results[0].config and not race.steps
