"""Page: what it says of confusions and bars, and that names stay text."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from geoseg.report import page

HOSTILE = ["<script>alert(1)</script>", "\"'><img src=x onerror=alert(2)>", "{{ 7 * 7 }}", "مياه", "ሰማይ", "</script>"]


def scores_of(matrix, names):
    classes = {
        name: {"id": at, "iou": 0.25 * at, "precision": None, "recall": 0.5, "f1": None}
        for at, name in enumerate(names)
    }
    return {
        "mean_iou": 0.5,
        "pixel_accuracy": 0.5,
        "frequency_weighted_iou": None,
        "classes_in_mean": len(names),
        "pixels": {"compared": int(np.sum(matrix)), "unlabelled": 0},
        "classes": classes,
        "confusion": {"classes": list(names), "pixels": np.asarray(matrix).tolist()},
        "reference": {"name": names[0]},
        "region": names[-1],
        "notes": [names[0]],
    }


def facts_of(names, **other):
    classes = [
        {"id": at, "name": name, "colour": "#808080", "pixels": 5, "share": 0.5, "area_m2": 2e6}
        for at, name in enumerate(names)
    ]
    blocks = {"failed": 1, "failed_text": "1 block", "empty_text": "0 blocks", "text": "", "outlines": []}
    blocks["outlines"] = [{"state": "failed", "x": 0, "y": 0, "width": 9, "height": 9, "error": names[0]}]
    texts = (
        "title",
        "attribution",
        "size_text",
        "pixel_text",
        "land_text",
        "area_text",
        "imagery_text",
        "spec",
        "cite",
    )
    rows = {"speed": [["a", names[0]]], "provenance": [[names[0], names[1]]], "files": [[names[0], "1:2"]]}
    return {
        **dict.fromkeys(texts, names[0]),
        **rows,
        "notes": list(names),
        "classes": classes,
        "blocks": blocks,
    } | other


VIEWER = {"size": [9, 9], "imagery": [], "map": [], "map_still": "data:,", "imagery_still": None}


def test_shares_of_the_matrix_are_those_of_scikit_learn():
    rng = np.random.default_rng(5)
    truth, mapped = rng.integers(0, 5, 999), rng.integers(0, 5, 999)
    found = page.confusion(scores_of(confusion_matrix(truth, mapped), list("abcde")))
    for kind, key in (("true", "of_row"), ("pred", "of_col")):
        shares = [[cell[key] for cell in row["cells"]] for row in found["rows"]]
        np.testing.assert_allclose(shares, confusion_matrix(truth, mapped, normalize=kind), rtol=1e-12)


def test_classes_that_occur_nowhere_are_left_out_and_the_rarest_of_many_are_said_to_be():
    matrix = np.diag([3, 0, 2])
    found = page.confusion(scores_of(matrix, list("abc")))
    assert [row["name"] for row in found["rows"]] == ["a", "c"]
    assert page.confusion(scores_of(np.zeros((2, 2), int), list("ab"))) is None
    many = page.confusion(scores_of(np.diag(np.arange(1, 61)), [f"k{at}" for at in range(60)]))
    assert len(many["rows"]) == 40
    assert many["left_out"] == 20
    assert many["rows"][0]["name"] == "k20"


@pytest.mark.parametrize(
    "given", [{"iou_interval": [0.1, 0.4]}, {"iou_interval": None}, {"iou_interval": [None, None]}, {}]
)
def test_a_bar_has_an_interval_where_the_scores_have_one(given):
    scores = scores_of(np.eye(2, dtype=int), ["a", "b"])
    scores["classes"]["b"] |= given
    bars = page.bars(scores, facts_of(["a", "b"])["classes"])
    wanted = [0.1, 0.4] if given.get("iou_interval") == [0.1, 0.4] else None
    assert [bar["interval"] for bar in bars] == [None, wanted]
    text = page.render(facts_of(["a", "b"]), scores, VIEWER).decode()
    assert ("interval 0.100 to 0.400" in text) == (wanted is not None)


def test_hostile_names_stay_text_and_nothing_is_loaded_from_elsewhere():
    text = page.render(facts_of(HOSTILE), scores_of(np.eye(6, dtype=int), HOSTILE), VIEWER).decode()
    assert text.count("<script") == 2
    assert "<img src=x" not in text
    assert "49" not in text.split("<body>")[1].split("<script")[0]
    assert "مياه" in text
    assert "ሰማይ" in text
    assert "http:" not in text
    assert "https:" not in text
    assert "default-src 'none'" in text


def test_equal_arguments_give_equal_bytes_without_scores_too():
    assert page.render(facts_of("ab"), None, VIEWER) == page.render(facts_of("ab"), None, VIEWER)
    assert b"Confusion" not in page.render(facts_of("ab"), None, VIEWER)


def test_confidence_and_blocks_are_shown_where_the_scores_hold_them():
    bins = {
        "low": [0.0, 0.5],
        "high": [0.5, 1.0],
        "pixels": [0, 10],
        "confidence": [None, 0.8],
        "accuracy": [None, 0.7],
    }
    coverage = {"threshold": [0.9, 0.7], "share": [0.4, 1.0], "accuracy": [0.75, 0.7]}
    blocks = {"edge_pixels": 8, "edge_m": 240.0, "rows": 1, "columns": 2}
    zone = {"name": "<i>north</i>", "pixel_accuracy": 0.25, "mean_iou": None}
    zone |= {"classes_in_mean": 0, "pixels": {"compared": 1234}}
    more = {
        "reliability": {"pixels": 10, "expected_calibration_error": 0.1, "bins": bins, "coverage": coverage},
        "blocks": blocks | {"compared": [5, 0], "differing": [1, 0], "mean_iou": [0.5, None]},
        "rule": "compared so",
        "zones": [zone],
    }
    scores = scores_of(np.eye(2, dtype=int), ["a", "b"])
    without = page.render(facts_of("ab"), scores, VIEWER).decode()
    text = page.render(facts_of("ab"), scores | more, VIEWER).decode()
    for words in (
        'id="h-trust"',
        'id="h-squares"',
        "80 % sure, 70 % right",
        "by blocks of 8 × 8 px (240 m)",
        "compared so",
        "&lt;i&gt;north",
        "1,234",
    ):
        assert words in text
        assert words not in without
