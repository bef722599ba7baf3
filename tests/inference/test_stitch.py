"""Stitch: labels are a function of the pixels and the lattice, however they are cut into tiles, batches and threads."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from examples import share_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_folders import IDS
from noise import label, near_ties, network_of, normalised, pixels_of, read

from geoseg.catalog.legend import NODATA
from geoseg.errors import PredictionError
from geoseg.grid import Window, cut
from geoseg.models import loading

few = settings(max_examples=share_of(8), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
windows = st.builds(Window, st.integers(-40, 40), st.integers(-40, 40), st.integers(1, 40), st.integers(1, 40))


def test_the_network_of_these_tests_tells_classes_apart(crop, blend):
    at = Window(0, 0, 64, 64)
    for predict in (crop, blend):
        labels, confidence = label(predict, pixels_of(at.shape), at, 4)
        assert all((labels == each).mean() > 0.1 for each in IDS)
        assert confidence.min() < 150
        assert confidence.max() > 200


@few
@given(at=windows, seed=st.integers(0, 99), missing=st.sampled_from([0.0, 0.02]))
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
@given(at=windows, cores=st.integers(2, 4), batch=st.integers(1, 5), threads=st.integers(1, 3))
@pytest.mark.parametrize("stitch", ["crop", "blend"])
@pytest.mark.parametrize("halo", ["full", 2, 0])
@pytest.mark.sampled(3)
def test_blocks_batches_and_threads_change_no_byte(crop, stitch, halo, at, cores, batch, threads):
    predict = replace(crop, stitch=stitch, halo=crop.halo if halo == "full" else halo)
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
@given(at=windows, seed=st.integers(0, 99))
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
        loading, "load", lambda *_: lambda x: seen.append(len(x)) or torch.ones(len(x), 3, *x.shape[2:])
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

    monkeypatch.setattr(loading, "load", lambda *_: network)
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


@pytest.mark.slow
@pytest.mark.parametrize("instructions", ["SSE41", "AVX2", "AVX512_CORE", "AVX512_CORE_BF16", "DEFAULT"])
def test_no_byte_changes_with_the_instructions_of_older_processors_either(instructions):
    """Each set has kernels of its own, chosen by shape: what is equal with one may differ with another."""
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": instructions}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", "change_no_byte"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
