"""Recipe: a training spec's keys, checked, with paths from its own folder."""

from pathlib import Path

import pytest
from labelled_scenes import RECIPE

from geoseg.catalog import SHIPPED
from geoseg.errors import JobError
from geoseg.training import recipe
from geoseg.training.recipe import ChipsSpec, SceneSpec


def test_paths_start_at_the_specs_folder(tmp_path, monkeypatch):
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "t.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    found = recipe.read("specs/t.yaml")
    assert found.catalog == str(tmp_path / "specs/data_catalog.yaml")
    assert found.out == str(tmp_path / "specs/tiny")
    assert found.all_scenes == (SceneSpec(imagery="scene", reference="truth"),)


def test_several_scenes_stand_in_their_order(tmp_path):
    text = RECIPE.replace("imagery: scene\nreference: truth\n", "")
    text += "scenes:\n- {imagery: b, reference: r, part: {west: 0.5}}\n- {imagery: a, reference: r, weight: 2}\n"
    (tmp_path / "t.yaml").write_text(text)
    found = recipe.read(tmp_path / "t.yaml").all_scenes
    assert [(each.imagery, each.weight, each.part) for each in found] == [("b", 1, {"west": 0.5}), ("a", 2, {})]


def test_part_of_a_scene_names_one_side():
    with pytest.raises(ValueError, match="one side"):
        SceneSpec(imagery="scene", reference="truth", part={"west": 0.5, "north": 0.5})
    with pytest.raises(ValueError, match="share between 0 and 1"):
        SceneSpec(imagery="scene", reference="truth", part={"west": 1.5})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("epochs: 6", "epochs: 0"), "epochs: input should be greater than or equal to 1, found 0"),
        (("batch: 8", "batch: few"), "batch: input should be a valid integer"),
        (("learning_rate: 0.02", "learning_rate: 0"), "learning_rate: input should be greater than 0"),
        (("square: 16", "squares: 16"), "unknown key 'chips.squares'; did you mean 'square'"),
        (
            ("square: 16", "square: 16, buffer: -1"),
            "chips.buffer: input should be greater than or equal to 0",
        ),
        (("square: 16", "square: 16, bufer: 1"), "unknown key 'chips.bufer'; did you mean 'buffer'"),
        (("square: 16", "square: 2"), "chips.square: input should be greater than or equal to 4, found 2"),
        (("[nir, red]", "[]"), "bands: list more of them"),
        (("bands: [nir, red]\n", ""), "key 'bands' is missing"),
        (
            ("seed: 1", "normalisation: {kind: percentile, percentiles: [2, 98]}"),
            "normalisation is 'percentile'; training knows 'none', 'fixed' and 'scene'",
        ),
        (("seed: 1", "seed: -1"), "seed: input should be greater than or equal to 0"),
        (
            ("architecture: {name: compact, width: 4, depth: 1}", "architecture: compact"),
            "input should be keys with values",
        ),
    ],
)
def test_a_wrong_spec_is_refused_in_one_sentence(tmp_path, change, said):
    (tmp_path / "t.yaml").write_text(RECIPE.replace(*change))
    with pytest.raises(JobError, match=r"t\.yaml: ") as caught:
        recipe.read(tmp_path / "t.yaml")
    assert said in str(caught.value)


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.9, 0.2), (0.99, 0.01)])
def test_something_is_left_to_train_on(shares):
    with pytest.raises(ValueError, match="leave nothing to train on"):
        ChipsSpec(validation=shares[0], test=shares[1])


def test_a_spec_from_before_there_was_a_buffer_is_read(tmp_path):
    (tmp_path / "t.yaml").write_text(RECIPE)
    assert recipe.read(tmp_path / "t.yaml").chips.buffer is None
    (tmp_path / "t.yaml").write_text(RECIPE.replace("square: 16, ", ""))
    found = recipe.read(tmp_path / "t.yaml").chips
    assert (found.square, found.size, found.validation, found.test) == (None, 16, 0.15, 0.15)


def test_the_shipped_spec_says_that_it_has_no_buffer():
    chips = recipe.read(SHIPPED / "models/landsat-6class/training.yaml").chips
    assert (chips.square, chips.buffer) == (64, 0)


def test_the_spec_of_the_workflow_is_read():
    found = recipe.read(Path(__file__).parents[2] / "workflows/train_model.yaml")
    assert found.all_scenes[0].part == {"west": 0.5}
