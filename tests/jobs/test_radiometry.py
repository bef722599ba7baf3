"""Radiometry: imagery in other numbers than a model expects is called by its name before a run."""

import numpy as np
import pytest
import rasterio
import yaml
from pydantic import ValidationError
from small_jobs import SmallJob
from strategies import write

from geoseg.catalog.card import Radiometry

EXPECTED = {"what": "reflectance x 10,000", "low": -500, "high": 20000, "dark": 900, "bright": 100}


def numbers():
    """Land in digital numbers: dark water, vegetation, bright soil."""
    return np.random.default_rng(0).gamma(2.0, 700.0, (2, 60, 70)).clip(1, 16000)


def job(tmp_path, pixels, expected=EXPECTED):
    made = SmallJob.write(tmp_path / "job")
    write(made.folder / "scene.tif", pixels.astype("float32"), nodata=-9999)
    path = made.folder / "model" / "card.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "radiometry": expected}))
    return made


WRONG = {
    "reflectance": (lambda n: n / 10_000, "looks like reflectance of 0 to 1; give 'scale: 10000' in the catalog"),
    "percent": (lambda n: n / 200, "which looks like another unit; give 'scale'"),
    "baseline 4": (lambda n: n + 1000, "as if the offset of 1000 that Sentinel-2 products have since January 2022"),
    "clouds": (lambda n: n / 10 + 8000, "nowhere below"),
    "nodata": (lambda n: np.where(np.arange(70) < 10, 65535, n), "of the values of imagery 'scene' lie beyond"),
}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.sampled(2)
def test_other_numbers_are_called_by_their_name_and_nothing_is_made(tmp_path, kind):
    change, sentence = WRONG[kind]
    made = job(tmp_path, change(numbers()))
    said = made.run()
    assert said.code == 2
    assert said.err.startswith("JobError: model 'tiny' expects reflectance x 10,000")
    assert sentence in said.err
    assert said.err.rstrip().endswith("or go on all the same with --force (force: true in the job)")
    assert not made.out.exists()
    made.job(inference={"any_values": True})
    again = made.run()
    assert again.code == 0
    assert sentence in again.err  # as a note


def test_digital_numbers_for_a_model_of_bytes_lack_a_scale_and_hold_no_offset(tmp_path):
    """The darkest of them are far below the offset of 1000, so it cannot be in them."""
    expected = {"what": "reflectance x 300", "low": -20, "high": 300, "dark": 80, "bright": 20}
    said = job(tmp_path, numbers() + 150, expected).run()
    assert said.code == 2
    assert "which looks like another unit; give 'scale' in the catalog" in said.err
    assert "offset" not in said.err


@pytest.mark.parametrize(
    "change", [lambda n: n, lambda n: n * 0 + 500, lambda n: n - 300], ids=["land", "flat", "haze"]
)
@pytest.mark.sampled(2)
def test_what_is_as_expected_runs_and_the_check_changes_no_pixel(tmp_path, change):
    made = job(tmp_path, change(numbers()))
    assert made.run().code == 0
    with rasterio.open(made.out / "map.tif") as file:
        before = file.read(1)
    made.job(inference={"any_values": True})
    again = made.run()
    assert again.code == 0
    with rasterio.open(made.out / "map.tif") as file:
        assert np.array_equal(before, file.read(1))


def test_files_of_another_type_are_called_by_their_name(tmp_path):
    made = job(tmp_path, numbers(), {**EXPECTED, "dtype": "uint16"})
    said = made.run().refusal("JobError")
    assert said.startswith(
        "JobError: model 'tiny' expects files of uint16, but the numbers of band 'red' are float32 in "
    )
    assert f"{made.folder / 'scene.tif'}; " in said
    assert said.endswith("or go on all the same with --force (force: true in the job)")
    made.job(force=True)
    assert made.run().code == 0


@pytest.mark.parametrize("how", [{}, {"scale": 1.5}, {"offset": -3}], ids=str)
def test_files_of_the_type_expected_or_that_are_scaled_run(tmp_path, how):
    made = job(tmp_path, numbers(), {"dtype": "uint16" if how else "float32"})
    made.imagery(**how)
    assert made.run().code == 0


@pytest.mark.parametrize(
    "wrong",
    [{}, {"what": "a"}, {"what": "a", "low": 0}, {"low": 0, "high": 1}, {"dark": 1}, {"dtype": "uint12"},
     {"dtype": "uint8", "bright": 5}, {"dtype": "uint8", "dark": 0}],
    ids=str,
)  # fmt: skip
def test_half_of_an_expectation_is_refused(wrong):
    with pytest.raises(ValidationError, match=r"radiometry says what, low and high, or a dtype|Input should be"):
        Radiometry(**wrong)


def test_a_card_with_limits_the_wrong_way_round_is_refused(tmp_path):
    said = job(tmp_path, numbers(), {**EXPECTED, "low": 5, "high": 4}).run()
    assert said.code == 2
    assert "low lies below high" in said.err
