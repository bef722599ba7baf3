"""Member: an ensemble is the mean of its members' shares, whatever their strides and halos, and of like ones only."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from examples import share_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_folders import IDS, write_model
from noise import label, near_ties, pixels_of, read

from geoseg import process
from geoseg.catalog.card import Model
from geoseg.catalog.legend import NODATA
from geoseg.errors import JobError, PredictionError
from geoseg.grid import Window
from geoseg.imagery import Statistics
from geoseg.inference import trimming
from geoseg.inference.member import MOST, check_alike
from geoseg.inference.options import Options
from geoseg.inference.predictor import prepare
from geoseg.jobs.plan import demand
from geoseg.models import loading, weights

few = settings(max_examples=share_of(6), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
windows = st.builds(Window, st.integers(-40, 40), st.integers(-40, 40), st.integers(1, 40), st.integers(1, 40))
SWAPPED = {"bands": ("nir", "red"), "name": "other"}
FIXED = {"kind": "fixed", "mean": [0.5, -1.0], "std": [2.0, 0.5]}


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Models of strides 2, 4 and 2, each with a halo and a normalisation of its own."""
    folder = tmp_path_factory.mktemp("members")
    deep = {"name": "compact", "width": 2, "depth": 2}
    return (
        write_model(folder / "a", normalisation=FIXED),
        write_model(folder / "b", architecture=deep, seed=1, name="deep", normalisation={"kind": "scene"}),
        write_model(folder / "c", seed=2, name="calm", temperature=2.0),
    )


@pytest.fixture(scope="module")
def ensemble(three):
    first, *others = three
    return prepare(first, Statistics((0.1, -0.2), (1.5, 2.5), 9), others=others, device="cpu", threads=1)


def test_the_widest_halo_and_the_common_stride_are_taken(three, ensemble):
    assert [model.card.stride for model in three] == [2, 4, 2]
    assert ensemble.stride == 4
    assert ensemble.halo == max(model.card.halo for model in three)
    assert ensemble.halo % 4 == 0
    assert (ensemble.core, ensemble.name) == (16, "tiny + deep + calm")
    with pytest.raises(JobError, match=r"inference.window is 18; model 'tiny . deep . calm' needs multiples of 4"):
        prepare(three[0], Statistics((0, 0), (1, 1), 9), others=three[1:], core=18)


def shares_by_hand(predict, scene, at):
    """Mean shares (class, row, col) of all members over the whole scene at once."""
    frame = at.snapped(16).grown(predict.halo)
    pixels, found = read(scene, at, frame), []
    for each in predict.members:
        mean, std = (np.asarray(numbers, "float32")[:, None, None] for numbers in (each.mean, each.std))
        network = loading.load(each.model, "cpu")
        with torch.inference_mode():
            scores = network(torch.from_numpy(np.nan_to_num((pixels - mean) / std))[None])[0]
        found.append(torch.softmax(scores / each.temperature, dim=0))
    return (sum(found) / len(found))[(slice(None), *at.within(frame))]


@few
@given(at=windows, seed=st.integers(0, 99))
def test_an_ensemble_is_the_mean_of_its_members_shares(ensemble, at, seed):
    scene = pixels_of(at.shape, seed, missing=0.02)
    shares = shares_by_hand(ensemble, scene, at)
    wanted = np.array(IDS, "uint8")[shares.argmax(dim=0).numpy()]
    wanted[np.isnan(scene).any(axis=0)] = NODATA
    labels, confidence = label(ensemble, scene, at, 2)
    assert not ((labels != wanted) & ~near_ties(shares)).any()
    assert np.abs(confidence - shares.amax(dim=0).numpy() * 254)[labels != NODATA].max(initial=0) < 0.51


@few
@given(at=windows, cores=st.integers(2, 4), threads=st.integers(1, 3), trim=st.booleans())
@pytest.mark.parametrize("stitch", ["crop", "blend"])
@pytest.mark.sampled(2)
def test_blocks_and_threads_change_no_byte_of_an_ensemble(ensemble, stitch, at, cores, threads, trim):
    scene, predict = pixels_of(at.shape, at.height, missing=0.02), replace(ensemble, stitch=stitch)
    process.renew()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trimming, "_SEEN", 10**9)
        wanted = label(predict, scene, at, 1)
        patch.setattr(trimming, "_SEEN", 0 if trim else 10**9)
        assert np.array_equal(wanted, label(replace(predict, threads=threads), scene, at, cores))


def test_a_member_that_is_trimmed_falsely_keeps_windows_whole(three, ensemble, monkeypatch):
    """One liar among the members is enough."""
    process.renew()
    monkeypatch.setattr(trimming, "_SEEN", 0)
    honest = loading.load
    liar = three[1].card.weights.sha256

    def lying(model, device):
        network = honest(model, device)
        lie = model.card.weights.sha256 == liar
        return (lambda x: network(x) + 1e-3 * x.mean(dim=(1, 2, 3), keepdim=True)) if lie else network

    monkeypatch.setattr(loading, "load", lying)
    at = Window(0, 0, 32, 20)
    scene = pixels_of(at.shape)
    found = label(ensemble, scene, at, 2)
    monkeypatch.setattr(trimming.Trimming, "part", lambda self, core, wanted: core)
    assert np.array_equal(found, label(ensemble, scene, at, 2))


def test_a_score_that_is_not_finite_in_one_member_fails_the_block(ensemble, monkeypatch):
    honest = loading.load
    last = ensemble.cards[-1].weights.sha256

    def broken(model, device):
        network = honest(model, device)
        return (lambda x: network(x).fill_(-torch.inf)) if model.card.weights.sha256 == last else network

    monkeypatch.setattr(loading, "load", broken)
    for stitch in ("crop", "blend"):
        with pytest.raises(PredictionError, match=r"'tiny . deep . calm' gave scores that are not finite"):
            label(replace(ensemble, stitch=stitch), pixels_of((16, 16)), Window(0, 0, 16, 16), 1)


def test_facts_and_memory_cover_all_members(three, ensemble):
    alone = prepare(three[0])
    facts = ensemble.facts
    assert [each["sha256"] for each in facts.pop("others")] == [each.card.weights.sha256 for each in three[1:]]
    assert facts.pop("options") == {"temperature": [1, 1, 2]}
    assert facts == {**alone.facts, "halo": ensemble.halo}
    turned = replace(ensemble, others=ensemble.others[::-1])
    assert turned.facts != ensemble.facts
    cold = replace(ensemble, others=(ensemble.others[0], replace(ensemble.others[1], temperature=1.0)))
    assert cold.facts != ensemble.facts
    sizes = [2 * weights.size_of(each) for each in three]
    assert ensemble.loaded_bytes - alone.loaded_bytes == sum(sizes[1:])
    assert ensemble.window_bytes > max(prepare(each, Statistics((0, 0), (1, 1), 9)).window_bytes for each in three)
    assert demand(ensemble).pixel == 2 * 4 * 2  # pixels normalised in two further ways
    assert ensemble.told == "mean of the shares of 3 models; logits divided by 1, 1, 2"
    assert ensemble.asked == {"temperature": [1, 1, 2]}
    assert prepare(three[0], None, temperature=3, others=three[2:]).told.endswith("2 models; logits divided by 3")
    assert "only class 7" in replace(ensemble, options=Options(classes=(7,))).told


def test_unlike_models_are_refused(three, tmp_path):
    first = three[0]

    def other(**keys):
        return write_model(tmp_path / f"{len(list(tmp_path.iterdir()))}", seed=9, name="other", **keys)

    with pytest.raises(JobError, match=r"'other' takes the bands nir, red and model 'tiny' red, nir; models of an"):
        check_alike([first, Model(first.folder, first.card.model_copy(update=SWAPPED))])
    with pytest.raises(JobError, match=r"'other' tells 3 class 3, 7 class 7, 9 class 9 apart and model 'tiny' 3 class"):
        check_alike([first, other(ids=(3, 7, 9))])
    with pytest.raises(JobError, match="has the weights of another model of the ensemble; name each once"):
        check_alike([first, three[1], first])
    with pytest.raises(JobError, match=f"at most {MOST} models, and the job names 9"):
        check_alike([first] * 9)
