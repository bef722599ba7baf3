"""Recipe: a training spec's keys, checked, with paths from its own folder."""

import pytest
from labelled_scenes import RECIPE

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
        (("[nir, red]", "[]"), "bands: list more of them"),
        (("bands: [nir, red]\n", ""), "key 'bands' is missing"),
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
