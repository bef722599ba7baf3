"""Quantities: text that a person reads gives the number back, whatever its size."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.quantities import counted, length, plain

ROOT = Path(__file__).parents[1] / "geoseg"


@given(st.floats(-1e12, 1e12, allow_nan=False), st.integers(1, 12))
def test_plain_has_no_exponent_and_gives_the_number_back(value, digits):
    text = plain(value, digits)
    assert re.fullmatch(r"-?\d+(\.\d*[1-9])?", text)
    assert float(text) == pytest.approx(value, rel=0.51 * 10 ** (1 - digits), abs=0)


@given(st.floats(1e-3, 1e9))
def test_a_length_reads_back_in_metres_and_turns_to_kilometres_at_a_thousand(metres):
    number, unit = length(metres).split()
    assert unit == ("km" if metres >= 1000 else "m")
    assert float(number) * {"m": 1, "km": 1000}[unit] == pytest.approx(metres, rel=1e-3)


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (-0.0, "0"), (1e22, "1" + "0" * 22), (999.96, "1000"), (float("nan"), "NaN")]
)
def test_plain_at_its_edges(value, text):
    assert plain(value) == text


def test_one_is_singular_and_nothing_else_is():
    assert counted(1, "polygon") == "1 polygon"
    assert [counted(n, "class", "classes") for n in (0, 1, 2)] == ["0 classes", "1 class", "2 classes"]


def test_no_sentence_counts_by_hand():
    """A number before a plural in an f-string says '1 blocks' some day."""
    by_hand = re.compile(r"\}\"? (?:blocks|polygons|workers|classes|files|bands|jobs|features|layers)\b")
    never_one = (
        "workers in turn",
        "crosswalks",
        "> 1",
        "at most",
        "of its",
        "the array",
        " layers: ",
        "a map has one",
        "hold {num",
    )
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in sorted(ROOT.rglob("*.py"))
        for line in path.read_text("utf-8").splitlines()
        if by_hand.search(line) and not any(each in line for each in never_one)
    ]
    assert found == []


def test_no_sentence_gives_metres_by_a_format_with_exponents():
    for path in sorted(ROOT.rglob("*.py")):
        assert not re.search(r":(\.\d+)?g\} k?m\b", path.read_text("utf-8")), path
