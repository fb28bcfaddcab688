"""The b-value against an independent computation and against catalogues whose b-value is known.

Nothing is imported from the payloads. Their formula (Aki 1965, Utsu 1966) is the first-order solution for
binned magnitudes; the maximum of the binned likelihood itself is found here by numerical search. The two are
tied by b_formula = 2 / (width ln 10) tanh(b_maximum ln 10 width / 2), which allows comparing the last digit.
"""

import json
import math
import random
import statistics
from decimal import ROUND_HALF_UP, Decimal

import pytest

WIDTH = 0.1
WEEK = [f"2018-{day}" for day in ("01-31", "02-01", "02-02", "02-03", "02-04", "02-05", "02-06")]


def round_magnitude(magnitude):
    """Return the magnitude's bin in whole tenths, rounding half up as on paper."""
    shifted = Decimal(str(magnitude)) * 10 + Decimal(1000)
    return int(shifted.quantize(Decimal(1), ROUND_HALF_UP)) - 1000


def find_cut(tenths):
    """Return the completeness in tenths: the commonest bin, the upper one of equals, plus 2."""
    tops = statistics.multimode(tenths)
    return max(tops) + 2


def maximise_likelihood(steps):
    """Return the b-value that makes these bins above the cut likeliest (golden-section search)."""

    def log_likelihood(b_value):
        decay = b_value * math.log(10) * WIDTH
        return sum(math.log(-math.expm1(-decay)) - decay * step for step in steps)

    low, high = 0.01, 9.0
    golden = (math.sqrt(5) - 1) / 2
    while high - low > 1e-9:
        left, right = high - golden * (high - low), low + golden * (high - low)
        if log_likelihood(left) < log_likelihood(right):
            low = left
        else:
            high = right
    return (low + high) / 2


def check_estimate(estimate, magnitudes):
    """Compare a payload's estimate with the search on the same magnitudes."""
    tenths = [round_magnitude(magnitude) for magnitude in magnitudes]
    cut = find_cut(tenths)
    used = [value for value in tenths if value >= cut]
    best = maximise_likelihood([value - cut for value in used])
    formula = 2 / (WIDTH * math.log(10)) * math.tanh(best * math.log(10) * WIDTH / 2)
    spread = statistics.stdev(value / 10 for value in used)
    assert estimate["completeness"] == pytest.approx(cut / 10)
    assert estimate["events_used"] == len(used)
    assert estimate["b_value"] == pytest.approx(formula, abs=6e-5)
    assert estimate["b_value"] == pytest.approx(best, rel=0.01)
    error = math.log(10) * formula**2 * spread / math.sqrt(len(used))
    assert estimate["b_uncertainty"] == pytest.approx(error, abs=6e-5)
    expected = math.log10(len(used)) + formula * cut / 10
    assert estimate["a_value"] == pytest.approx(expected, abs=2e-4)


@pytest.fixture
def estimate_day(run_script, tmp_path):
    """Return a function that gives the spectrum payload's result on a file."""

    def estimate(path):
        done = run_script("spectrum.py", path, tmp_path / "spectrum.json")
        assert done.returncode == 0, done.stderr
        return json.loads((tmp_path / "spectrum.json").read_text())

    return estimate


def read_magnitudes(path, network=None):
    """Return the earthquakes' magnitudes in a daily file."""
    events = [feature["properties"] for feature in json.loads(path.read_text())["features"]]
    return [event["mag"] for event in events if event["type"] == "earthquake" and network in {None, event["net"]}]


@pytest.mark.parametrize("day", WEEK)
def test_real_days_agree_with_the_search(estimate_day, quakes, day):
    """On each full day of the week the formula and the search agree on completeness, b, its error and a."""
    path = quakes / f"data/quakes-{day}.geojson"
    check_estimate(estimate_day(path)["all"]["estimate"], read_magnitudes(path))


def test_a_single_network_agrees_with_the_search(estimate_day, quakes):
    """The estimate of one network uses that network's events alone."""
    path = quakes / "data/quakes-2018-02-04.geojson"
    check_estimate(estimate_day(path)["networks"]["ak"]["estimate"], read_magnitudes(path, "ak"))


@pytest.mark.parametrize("b_value", [0.7, 1.0, 1.4])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_known_b_value_is_recovered(estimate_day, write_day, make_feature, b_value, seed):
    """A made catalogue gives its b-value within four standard errors, and an error near b over root n."""
    source = random.Random(seed)
    full = [1.95 + source.expovariate(b_value * math.log(10)) for _ in range(4000)]
    # Below magnitude 1.95 the made network misses more and more, as a real one does.
    thin = [1.95 - source.expovariate(6) for _ in range(400)]
    magnitudes = [round(magnitude, 2) for magnitude in full + thin]
    features = [make_feature(f"a{number}", mag=magnitude) for number, magnitude in enumerate(magnitudes)]
    for number, feature in enumerate(features):
        feature["properties"]["time"] += 3000 * number
    estimate = estimate_day(write_day(features))["all"]["estimate"]
    check_estimate(estimate, magnitudes)
    assert estimate["completeness"] == 2.2
    assert abs(estimate["b_value"] - b_value) < 4 * estimate["b_uncertainty"]
    ideal = b_value / math.sqrt(estimate["events_used"])
    assert estimate["b_uncertainty"] == pytest.approx(ideal, rel=0.15)
