"""Predictor: the labels are a function of the pixels and the lattice, however they are computed."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_folders import IDS, write_model
from pydantic import TypeAdapter

from geoseg import catalog
from geoseg.catalog.legend import NODATA
from geoseg.errors import JobError, ModelError, PredictionError
from geoseg.grid import Window, cut
from geoseg.imagery import Statistics
from geoseg.inference import predictor
from geoseg.inference.predictor import Predictor, prepare
from geoseg.models import loading

few = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    fixed = {"kind": "fixed", "mean": [0.5, -1.0], "std": [2.0, 0.5]}
    return write_model(tmp_path_factory.mktemp("model"), normalisation=fixed)


@pytest.fixture(scope="module")
def crop(model):
    return prepare(model, device="cpu", threads=1)


@pytest.fixture(scope="module")
def blend(model):
    return prepare(model, device="cpu", threads=2, stitch="blend")


def pixels_of(shape, seed=0, missing=0.0):
    """Smooth noise (band, row, col) with a share of the pixels without data in one band or both."""
    rng = np.random.default_rng(seed)
    pixels = rng.normal(0, 2, (2, *shape)).astype("float32")
    pixels[rng.random(pixels.shape) < missing] = np.nan
    return pixels


def read(scene, at, window):
    """`scene` covers the window `at`; beyond it there is no data."""
    pixels = np.full((len(scene), *window.shape), np.nan, "float32")
    part = window.meet(at)
    if part is not None:
        pixels[(slice(None), *part.within(window))] = scene[(slice(None), *part.within(at))]
    return pixels


def label(predict, scene, at, cores):
    """Labels and confidence (2, row, col) of a scene, made in blocks of `cores` x `cores` cores."""
    made = np.full((2, *at.shape), 111, "uint8")
    for block in cut(at, cores * predict.core):
        part = block.meet(at)
        reading = part.snapped(predict.core).grown(predict.margin)
        answer = np.stack(predict(read(scene, at, reading)))
        made[(slice(None), *part.within(at))] = answer[(slice(None), *part.within(reading))]
    return made


def network_of(predict):
    return loading.load(predict.model, "cpu")


def normalised(predict, pixels):
    mean, std = (np.asarray(each, "float32")[:, None, None] for each in (predict.mean, predict.std))
    return torch.from_numpy(np.nan_to_num((pixels - mean) / std))[None]


def near_ties(scores):
    """Pixels (row, col) where the two best of (class, row, col) scores are nearly equal."""
    best, second = scores.topk(2, dim=0).values
    return (best - second < 1e-4).numpy()


places = st.builds(Window, st.integers(-40, 40), st.integers(-40, 40), st.integers(1, 40), st.integers(1, 40))


def test_the_network_of_these_tests_tells_classes_apart(crop, blend):
    at = Window(0, 0, 64, 64)
    for predict in (crop, blend):
        labels, confidence = label(predict, pixels_of(at.shape), at, 4)
        assert all((labels == each).mean() > 0.1 for each in IDS)
        assert confidence.min() < 150
        assert confidence.max() > 200


@few
@given(at=places, seed=st.integers(0, 99), missing=st.sampled_from([0.0, 0.02]))
def test_tiled_labels_equal_inference_over_the_whole_scene(crop, at, seed, missing):
    scene = pixels_of(at.shape, seed, missing)
    whole = at.snapped(crop.core).grown(crop.halo)
    with torch.inference_mode():
        scores = network_of(crop)(normalised(crop, read(scene, at, whole)))[0][(slice(None), *at.within(whole))]
    wanted = np.array(IDS, "uint8")[scores.argmax(dim=0).numpy()]
    wanted[np.isnan(scene).any(axis=0)] = NODATA
    labels, confidence = label(crop, scene, at, 1)
    assert not ((labels != wanted) & ~near_ties(scores)).any()
    share = scores.softmax(dim=0).amax(dim=0).numpy() * 254
    assert np.abs(confidence - share)[labels != NODATA].max(initial=0) < 0.51
    assert (confidence[labels == NODATA] == NODATA).all()


@few
@given(at=places, cores=st.integers(2, 4), batch=st.integers(1, 5), threads=st.integers(1, 3))
@pytest.mark.parametrize("stitch", ["crop", "blend"])
def test_blocks_batches_and_threads_change_no_byte(crop, stitch, at, cores, batch, threads):
    predict = replace(crop, stitch=stitch)
    scene = pixels_of(at.shape, seed=at.height, missing=0.02)
    other = replace(predict, batch=batch, threads=threads)
    assert np.array_equal(label(predict, scene, at, 1), label(other, scene, at, cores))


@pytest.mark.parametrize("stitch", ["crop", "blend"])
@pytest.mark.parametrize("core", [6, 14])
def test_oddly_sized_windows_in_batches_change_no_byte(crop, stitch, core):
    at = Window(-3, 5, 23, 17)
    scene = pixels_of(at.shape, seed=core)
    predict = replace(crop, core=core, stitch=stitch)
    assert np.array_equal(label(predict, scene, at, 1), label(replace(predict, batch=3, threads=2), scene, at, 3))


@few
@given(at=places, seed=st.integers(0, 99))
def test_blend_is_the_weighted_mean_of_all_windows_that_see_a_pixel(blend, at, seed):
    scene = pixels_of(at.shape, seed, missing=0.01)
    core, halo, network = blend.core, blend.halo, network_of(blend)
    frame = at.snapped(core).grown(blend.margin + core)
    total = np.zeros((len(IDS) + 1, *frame.shape))
    away = np.minimum(np.arange(core + 2 * halo) + 0.5, np.arange(core + 2 * halo)[::-1] + 0.5)
    ramp = np.sin(np.minimum(away / (2 * halo), 1) * np.pi / 2) ** 2
    for square in cut(at, core):
        with torch.inference_mode():
            window = square.grown(halo)
            if np.isnan(read(scene, at, square)).any(axis=0).all():
                continue
            share = network(normalised(blend, read(scene, at, window)))[0].softmax(dim=0).numpy()
        share = np.concatenate([share, np.ones_like(share[:1])]) * np.outer(ramp, ramp)
        total[(slice(None), *window.within(frame))] += share
    total = total[(slice(None), *at.within(frame))]
    valid = ~np.isnan(scene).any(axis=0)
    shares = np.where(valid, total[:-1] / np.where(valid, total[-1], 1), 0)
    labels, confidence = label(blend, scene, at, 2)
    assert ((labels == NODATA) == ~valid).all()
    wrong = valid & (labels != np.array(IDS, "uint8")[shares.argmax(axis=0)])
    assert not (wrong & ~near_ties(torch.from_numpy(shares))).any()
    assert np.abs(confidence - shares.max(axis=0) * 254)[valid].max(initial=0) < 0.51


@few
@given(row=st.integers(0, 63), col=st.integers(0, 63), band=st.integers(0, 1))
def test_a_pixel_without_data_changes_nothing_beyond_the_halo(crop, row, col, band):
    at = Window(0, 0, 64, 64)
    scene = pixels_of(at.shape)
    holed = scene.copy()
    holed[band, row, col] = np.nan
    before, after = label(crop, scene, at, 2), label(crop, holed, at, 2)
    stride = crop.model.card.stride
    near = Window(row, col, 1, 1).snapped(stride).grown(crop.halo).meet(at)
    assert (after[:, row, col] == NODATA).all()
    changed = (before != after).any(axis=0)
    changed[near.within(at)] = False
    assert not changed.any()


def test_windows_without_a_whole_pixel_are_not_computed(crop, monkeypatch):
    seen = []
    monkeypatch.setattr(
        predictor, "load", lambda *_: lambda x: seen.append(len(x)) or torch.ones(len(x), 3, *x.shape[2:])
    )
    at = Window(0, 0, 32, 48)
    scene = pixels_of(at.shape)
    scene[0, :16, :] = np.nan
    scene[:, :, 16:32] = np.nan
    labels, confidence = label(crop, scene, at, 4)
    assert len(seen) == 2
    assert set(np.unique(labels[16:, :16])) == {IDS[0]}
    assert (labels[:16] == NODATA).all()
    assert (labels[:, 16:32] == NODATA).all()
    assert (confidence[16:, :16] == round(254 / 3)).all()


@pytest.mark.parametrize("stitch", ["crop", "blend"])
@pytest.mark.parametrize("score", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_fail_the_block(crop, monkeypatch, stitch, score):
    def network(x):
        scores = torch.zeros(len(x), 3, *x.shape[2:])
        scores[:, 1][x[:, 0] > 5] = score
        return scores

    monkeypatch.setattr(predictor, "load", lambda *_: network)
    predict = replace(crop, stitch=stitch, mean=(0.0, 0.0), std=(1.0, 1.0))
    at = Window(0, 0, 32, 32)
    scene = np.zeros((2, 32, 32), "float32")
    scene[0, 3, 4] = 9
    with pytest.raises(PredictionError, match="'tiny' gave scores that are not finite"):
        label(predict, scene, at, 2)
    scene[1, 3, 4] = np.nan  # no label is asked for here, so no score is missed
    assert (label(predict, scene, at, 2)[0] == IDS[0]).sum() == 32 * 32 - 1


def test_overflow_in_a_real_network_fails_the_block(crop):
    scene = pixels_of((16, 16))
    scene[0, 5, 5] = 3e38
    with pytest.raises(PredictionError, match="not finite"):
        label(replace(crop, std=(1e-3, 1.0)), scene, Window(0, 0, 16, 16), 1)


def test_a_full_device_halves_the_batch_and_changes_no_byte(crop, monkeypatch, caplog):
    network, sizes = network_of(crop), []

    def small(x):
        sizes.append(len(x))
        if len(x) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return network(x)

    at = Window(0, 0, 48, 48)
    scene = pixels_of(at.shape)
    wanted = label(crop, scene, at, 3)
    monkeypatch.setattr(predictor, "load", lambda *_: small)
    monkeypatch.setattr(predictor, "_fits", {})
    assert np.array_equal(label(replace(crop, batch=8), scene, at, 3), wanted)
    assert sizes[:2] == [8, 4]
    assert set(sizes[2:]) == {2}
    assert "going on with 2" in caplog.text
    monkeypatch.setattr(predictor, "load", lambda *_: lambda x: small(x.repeat(3, 1, 1, 1)))
    with pytest.raises(PredictionError, match="out of memory for a single window"):
        label(replace(crop, batch=8), scene, at, 3)


def test_the_callers_threads_and_gradients_stay_as_they_were(crop):
    before = torch.get_num_threads()
    pixels = pixels_of((16 + 2 * crop.margin,) * 2)
    frozen = pixels.copy()
    frozen.setflags(write=False)
    assert np.array_equal(np.stack(crop(pixels)), np.stack(crop(frozen)))
    assert torch.get_num_threads() == before
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def test_a_predictor_travels_light_and_keeps_its_facts(crop, tmp_path):
    told = write_model(tmp_path, training={"scenes": ["long story"] * 999}, scores={"mean_iou": 0.5}, bands=4)
    assert len(pickle.dumps(prepare(told))) < 4000
    assert (
        len(pickle.dumps(prepare(catalog.shipped().model("landsat-6class"), Statistics((1,) * 4, (1,) * 4, 9)))) < 4000
    )
    assert pickle.loads(pickle.dumps(crop)) == crop
    adapter = TypeAdapter(Predictor)
    assert adapter.validate_json(adapter.dump_json(crop)) == crop
    assert replace(crop, batch=3, threads=2, device="cuda").facts == crop.facts
    assert replace(crop, stitch="blend").facts != crop.facts


# -------------------------------------------------------------------------------------- at the door


def test_auto_takes_what_the_card_says(model):
    ready = prepare(model)
    card = model.card
    assert (ready.core, ready.halo, ready.margin) == (card.window, card.halo, card.halo)
    assert (ready.precision, ready.stitch, ready.device) == ("float32", "crop", "auto")
    assert prepare(model, core=4, stitch="blend").margin == -(-card.halo // 4) * 4 + card.halo


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"core": 17}, "inference.window is 17; model 'tiny' needs multiples of 2 pixels, for instance 16 or 18"),
        ({"core": 0}, "inference.window is 0; .* for instance 2 or 4"),
        ({"halo": 4}, "inference.halo is 4, but model 'tiny' looks .* the map would depend on where windows are cut"),
        ({"halo": 27}, "inference.halo is 27; .* multiples of 2"),
        ({"batch": -1}, "batch is -1"),
        ({"precision": "float8"}, "inference.precision is 'float8'; choose one of float32"),
        ({"stitch": "vote"}, "inference.stitch is 'vote'; choose one of crop, blend"),
    ],
)
def test_what_does_not_fit_the_network_is_refused(model, asked, said):
    with pytest.raises(JobError, match=said):
        prepare(model, **asked)


@pytest.mark.parametrize("device", ["gpu", "cpu:", "cpu:0x", "cuda:one", "mps"])
def test_an_unknown_device_is_refused(model, device):
    with pytest.raises(ModelError, match=r"choose 'auto', 'cpu', 'cuda' or 'cuda:<number>'"):
        prepare(model, device=device)


def test_a_device_that_is_not_here_is_refused_where_it_is_used(model):
    elsewhere = prepare(model, device="cuda:99")
    with pytest.raises(ModelError, match=r"torch finds . CUDA devices here"):
        elsewhere(pixels_of((16 + 2 * elsewhere.margin,) * 2))


def test_a_scene_wide_normalisation_needs_the_scenes_statistics(tmp_path):
    model = write_model(tmp_path, normalisation={"kind": "scene"})
    ready = prepare(model, Statistics((1.0, 2.0), (3.0, 0.0), 10))
    assert (ready.mean, ready.std) == ((1.0, 2.0), (3.0, 1.0))
    with pytest.raises(ModelError, match="was given none"):
        prepare(model)
    with pytest.raises(ModelError, match="give those of its 2 bands"):
        prepare(model, Statistics((1.0,), (3.0,), 10))
    with pytest.raises(ModelError, match="imagery that has data"):
        prepare(model, Statistics((np.nan, 1.0), (np.nan, 1.0), 0))


def test_a_block_that_is_no_block_is_refused(crop):
    with pytest.raises(PredictionError, match=r"takes 2 bands and was given an array of shape \(3, 40, 40\)"):
        crop(np.zeros((3, 40, 40), "float32"))
    with pytest.raises(PredictionError, match="give whole cores of 16 pixels"):
        crop(np.zeros((2, 41, 40), "float32"))


@pytest.mark.gpu
@pytest.mark.parametrize("stitch", ["crop", "blend"])
def test_a_gpu_gives_the_same_bytes_in_any_blocks_and_nearly_the_cpus(crop, stitch):
    at = Window(-5, 9, 200, 170)
    scene = pixels_of(at.shape, missing=0.01)
    cpu = replace(crop, stitch=stitch)
    gpu = replace(cpu, device="cuda", batch=4)
    wanted = label(gpu, scene, at, 1)
    assert np.array_equal(wanted, label(gpu, scene, at, 5))
    assert (wanted[0] != label(cpu, scene, at, 2)[0]).mean() < 1e-3
