"""Texts: tables that other programs read back to the same values, whatever the names hold."""

import csv
import io

import pandas
import pytest
from markdown_it import MarkdownIt

from geoseg.report import texts

NAMES = ["<script>alert(1)</script>", "a|b *c* _d_ \\e", '"quoted", 50 % & $5 #1 {x} ~^', "مياه", "ሰማይ", "line\nbreak"]
HEAD = ("class", "iou", "pixels")
ENDINGS = ("csv", "md", "tex")
ROWS = [(name, at / 8, 10**at) for at, name in enumerate(NAMES)]


def test_csv_is_read_back_by_pandas_to_the_very_values():
    found = pandas.read_csv(io.StringIO(texts.as_csv(HEAD, ROWS)))
    assert list(found.itertuples(index=False, name=None)) == ROWS
    assert list(csv.reader(io.StringIO(texts.as_csv(HEAD, [("a", None, 0)]))))[1] == ["a", "", "0"]


def test_markdown_is_shown_as_the_names_are():
    tokens = MarkdownIt("commonmark").enable("table").parse(texts.as_markdown(HEAD, ROWS))
    cells = [each for each in tokens if each.type == "inline"]
    found = ["".join(part.content for part in each.children) for each in cells]
    assert found[: len(HEAD)] == list(HEAD)
    assert found[len(HEAD) :: 3] == [" ".join(name.split()) for name in NAMES]
    assert {part.type for each in cells for part in each.children} <= {"text", "text_special"}


@pytest.mark.parametrize("special", list('&%$#_{}\\~^<>"'))
def test_latex_has_no_special_character_left(special):
    line = texts.as_latex(HEAD, [(f"a{special}b", None, 1)]).splitlines()[4]
    name, iou, pixels = line.removesuffix(r" \\").split(" & ")
    assert name != f"a{special}b"
    assert name[1] == "\\"
    assert (iou, pixels) == ("–", "1")


def test_zones_have_a_table_where_the_scores_have_zones():
    zone = {"name": "no|rth", "pixels": {"compared": 12}, "pixel_accuracy": 0.5, "mean_iou": None}
    scores = {"classes": {}, "confusion": {"classes": [], "pixels": []}}
    scores["zones"] = [zone | {"frequency_weighted_iou": 0.25}]
    made = texts.tables({"classes": []}, scores)
    assert set(made) == {f"{name}.{end}" for name in ("areas", "accuracy", "confusion", "zones") for end in ENDINGS}
    found = pandas.read_csv(io.BytesIO(made["zones.csv"]))
    assert found.loc[0, "zone"] == "no|rth"
    assert found.loc[0, "compared_pixels"] == 12
    assert found["mean_iou"].isna().all()
