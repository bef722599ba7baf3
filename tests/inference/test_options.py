"""Options: what a user may ask for, what is refused, and what each of them does to labels."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from examples import share_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_folders import IDS, write_model
from noise import label, near_ties, network_of, normalised, pixels_of, read

from geoseg import process
from geoseg.catalog.legend import NODATA
from geoseg.errors import JobError
from geoseg.grid import Window
from geoseg.inference import options, trimming
from geoseg.inference.device import Device
from geoseg.inference.predictor import prepare

few = settings(max_examples=share_of(6), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
windows = st.builds(Window, st.integers(-40, 40), st.integers(-40, 40), st.integers(1, 40), st.integers(1, 40))
D4 = options.Options(tta="d4")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"tta": "d8"}, "inference.tta is 'd8'; choose 'd4' or 'none'"),
        ({"classes": ["clas 3"]}, "inference.classes: no class 'clas 3' in legend 'three'; did you mean 'class 3'"),
        ({"classes": [4]}, "inference.classes: no class '4'"),
        ({"classes": [""]}, "names a class without a name"),
        ({"thresholds": {"class 3": 1.5}}, "gives class 'class 3' 1.5; give a share from 0 to 1"),
        ({"thresholds": {"3": float("nan")}}, "gives class 'class 3' nan; give a share"),
        ({"thresholds": {"nobody": 0.5}}, "inference.thresholds: no class 'nobody'"),
        ({"classes": [7], "thresholds": {"3": 0.5}}, "names class 'class 3', which inference.classes leaves out"),
    ],
)
def test_what_cannot_be_is_refused(model, asked, said):
    with pytest.raises(JobError, match=said):
        options.of(model.card.legend, **asked)


@pytest.mark.parametrize("temperature", [0, -1, float("nan"), float("inf")])
def test_a_temperature_is_a_number_above_0(model, temperature):
    with pytest.raises(JobError, match=r"inference.temperature is .*; give a number above 0"):
        prepare(model, temperature=temperature)


def test_a_temperature_needs_logits(tmp_path):
    model = write_model(tmp_path, output={"kind": "labels"})
    assert options.temperature_of(model.card, "auto") == 1
    with pytest.raises(JobError, match="divides logits, and model 'tiny' gives labels"):
        options.temperature_of(model.card, 2)


def test_classes_are_named_or_numbered_in_any_order(model):
    legend = model.card.legend
    assert options.of(legend, classes=["200", "class 3"]).classes == (3, 200)
    assert options.of(legend, thresholds=0.5, classes=["7"]).thresholds == ((7, 0.5),)
    assert options.of(legend, thresholds={"CLASS 7": 0.25, "3": 0}).thresholds == ((7, 0.25),)
    assert options.of(legend) == options.PLAIN


def test_the_card_says_the_temperature_where_the_user_does_not(tmp_path):
    model = write_model(tmp_path, temperature=2.5)
    assert prepare(model).temperature == 2.5
    assert prepare(model, temperature=3).temperature == 3
    assert prepare(model, temperature=1).facts == prepare(write_model(tmp_path / "other")).facts


def test_only_what_is_asked_for_is_a_fact(crop):
    assert "options" not in crop.facts
    asked = [
        {"options": D4},
        {"temperature": 2.0},
        {"options": options.Options(classes=(3, 7))},
        {"options": options.Options(thresholds=((3, 0.5),))},
        {"options": options.Options(thresholds=((3, 0.6),))},
    ]
    facts = [str(replace(crop, **each).facts) for each in asked]
    assert len({str(crop.facts), *facts}) == len(asked) + 1
    told = {replace(crop, **each).told for each in asked}
    assert "" not in told
    assert len(told) == len(asked)
    assert crop.told == ""


@few
@given(at=windows, seed=st.integers(0, 99))
def test_d4_equals_the_mean_over_the_turned_whole_scene(crop, at, seed):
    scene = pixels_of(at.shape, seed)
    whole = at.snapped(crop.core).grown(crop.halo)
    pixels, network = normalised(crop, read(scene, at, whole)).numpy()[0], network_of(crop)
    scores = np.zeros((len(IDS), *whole.shape))
    for turns in range(4):  # by NumPy, and over the scene at once
        for flipped in (False, True):
            seen = np.rot90(pixels[:, ::-1] if flipped else pixels, turns, (1, 2))
            with torch.inference_mode():
                found = np.rot90(network(torch.from_numpy(seen.copy())[None])[0].numpy(), -turns, (1, 2))
            scores += (found[:, ::-1] if flipped else found) / 8
    scores = torch.from_numpy(scores)[(slice(None), *at.within(whole))]
    labels, confidence = label(replace(crop, options=D4), scene, at, 2)
    assert not ((labels != np.array(IDS, "uint8")[scores.argmax(dim=0).numpy()]) & ~near_ties(scores)).any()
    assert np.abs(confidence - scores.softmax(dim=0).amax(dim=0).numpy() * 254).max() < 0.51


@few
@given(at=windows, cores=st.integers(2, 4), threads=st.integers(1, 3), trim=st.booleans())
@pytest.mark.parametrize("stitch", ["crop", "blend"])
def test_options_change_no_byte_with_blocks_and_threads(crop, stitch, at, cores, threads, trim):
    asked = options.Options(tta="d4", classes=(3, 200), thresholds=((3, 0.6), (200, 0.4)))
    predict = replace(crop, stitch=stitch, options=asked, temperature=1.7)
    scene = pixels_of(at.shape, seed=at.height, missing=0.02)
    process.renew()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trimming, "_SEEN", 10**9)
        wanted = label(predict, scene, at, 1)
        patch.setattr(trimming, "_SEEN", 0 if trim else 10**9)
        assert np.array_equal(wanted, label(replace(predict, threads=threads), scene, at, cores))


def test_turned_windows_are_trimmed_too(crop, monkeypatch):
    """Where the scene ends amid a core, less is computed, and no byte changes."""
    process.renew()
    at, predict = Window(0, 0, 16 * 5, 20), replace(crop, options=D4, threads=1)
    scene, shapes = pixels_of(at.shape), set()
    monkeypatch.setattr(trimming, "_SEEN", 0)
    plain = Device._scores
    monkeypatch.setattr(
        Device, "_scores", lambda self, w, at: (shapes.add(tuple(w[0].shape[1:])), plain(self, w, at))[1]
    )
    labels = label(predict, scene, at, 2)
    side, small = 16 + 2 * crop.halo, 4 + 2 * crop.halo
    assert shapes == {(side, side), (side, small), (small, side)}
    monkeypatch.setattr(trimming.Trimming, "part", lambda self, core, wanted: core)
    assert np.array_equal(labels, label(predict, scene, at, 2))


@pytest.mark.parametrize("stitch", ["crop", "blend"])
def test_classes_temperature_and_thresholds_do_what_they_say(crop, stitch):
    at = Window(0, 0, 40, 40)
    scene, predict = pixels_of(at.shape, missing=0.02), replace(crop, stitch=stitch)
    plain, sure = label(predict, scene, at, 2)
    data = plain != NODATA

    def asked(**keys):
        return label(replace(predict, options=options.Options(**keys)), scene, at, 2)

    only, share = asked(classes=(3, 200))
    assert set(np.unique(only)) == {3, 200, NODATA}
    same = np.isin(plain, (3, 200))
    assert np.array_equal(only[same], plain[same])
    assert np.array_equal(share[same], sure[same])
    assert (share[data & ~same] <= sure[data & ~same]).all()  # shares stay those among all classes
    strict, share = asked(thresholds=((7, 0.6),))
    doubtful = (plain == 7) & (sure < round(0.6 * 254))
    assert 0 < doubtful.sum() < (plain == 7).sum()
    edge = (plain == 7) & (sure == round(0.6 * 254))
    assert ((strict == NODATA) == (doubtful | ~data))[~edge].all()
    assert np.array_equal(share == NODATA, strict == NODATA)
    assert np.array_equal(strict[strict != NODATA], plain[strict != NODATA])
    calm, calm_share = label(replace(predict, temperature=4.0), scene, at, 2)
    assert calm_share[data].mean() < sure[data].mean() - 20
    if stitch == "crop":
        assert np.array_equal(calm, plain)


def test_temperature_divides_the_logits(crop):
    at = Window(0, 0, 16, 16)
    scene = pixels_of(at.shape)
    whole = at.grown(crop.halo)
    with torch.inference_mode():
        scores = network_of(crop)(normalised(crop, read(scene, at, whole)))[0][(slice(None), *at.within(whole))]
    wanted = torch.softmax(scores / 3, dim=0).amax(dim=0).numpy() * 254
    assert np.abs(label(replace(crop, temperature=3.0), scene, at, 1)[1] - wanted).max() < 0.51
