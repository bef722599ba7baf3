"""Fonts: judged by the fonts that come with matplotlib, and by what it draws."""

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont
from matplotlib.ft2font import FT2Font

from geoseg.report import fonts

UNASSIGNED = "\u0378"


def characters(family):
    return set(map(chr, FT2Font(findfont(FontProperties(family=family), fallback_to_default=False)).get_charmap()))


def boxes(text):
    """Whether matplotlib draws a box for something in a text that is set as we set it."""
    figure = Figure()
    figure.text(0, 0, text, **fonts.setting(text))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        FigureCanvasAgg(figure).draw()
    return any("missing from" in str(each.message) for each in seen)


@pytest.mark.parametrize("text", ["water", "forêt", "лес", "δάσος", "two\nlines", "zero\u200dwidth", ""])
def test_what_dejavu_has_can_be_written(text):
    assert fonts.writable(text)
    assert fonts.legible(text) == text
    assert not boxes(text)


def test_what_no_font_has_cannot():
    assert not fonts.writable(f"a{UNASSIGNED}b")
    assert fonts.legible(f"a{UNASSIGNED}b") == "a?b"
    assert boxes(UNASSIGNED)


def test_any_installed_font_helps_that_has_what_the_usual_ones_lack():
    only = sorted(characters("STIXGeneral") - characters("DejaVu Sans") - {"\ufffd"})
    rare = next(each for each in only if each.isprintable() and not 0xE000 <= ord(each) < 0xF900)
    assert fonts.writable(rare)
    assert len(fonts.setting(rare)["fontfamily"]) > len(fonts.setting("a")["fontfamily"])
    assert not boxes(rare)


@given(st.text(st.characters(max_codepoint=0x2FFF, exclude_categories=["Cs", "Cc"]), max_size=12))
def test_what_is_legible_can_be_written(text):
    shown = fonts.legible(text)
    assert len(shown) == len(text)
    assert fonts.writable(shown)
    assert fonts.writable(text) == (shown == text)


def test_dollar_signs_are_no_formulas():
    figure = Figure()
    text = "$\\nonsense$ and $"
    figure.text(0, 0, text, **fonts.setting(text))
    FigureCanvasAgg(figure).draw()
    assert fonts.setting(text)["parse_math"] is False


def test_no_family_is_one_of_boxes():
    assert not any("last resort" in entry.name.lower() for entry in fonts._plain())
    assert len({entry.name for entry in fonts._plain()}) == len(fonts._plain())
