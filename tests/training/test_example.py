"""Example: what docs/training.md tells a reader to type works, in the order of the page."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from small_jobs import geoseg

from geoseg.catalog.card import read_model

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text("utf-8")
LINES = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


def made(folder: Path) -> Path:
    """The reader's folder: a valley of 200 x 260 pixels, labels of most of it, and the page's YAML files."""
    random = np.random.default_rng(0)
    kinds = np.kron(random.integers(0, 3, (25, 33)), np.ones((8, 8), int))[:, :260]
    values = np.array([[300, 1200, 500], [100, 2500, 3500]])[:, kinds] + random.normal(0, 120, (2, 200, 260))
    where = {"crs": "EPSG:32633", "transform": Affine(10, 0, 500_000, 0, -10, 5_200_000)}
    with rasterio.open(folder / "valley.tif", "w", "GTiff", 260, 200, 2, dtype="uint16", **where) as file:
        file.write(values.clip(1).astype(np.uint16))
    labels = (kinds + 1).astype(np.uint8)
    labels[:20, :20] = 0
    with rasterio.open(folder / "labels.tif", "w", "GTiff", 260, 200, 1, dtype="uint8", nodata=0, **where) as file:
        file.write(labels, 1)
    names = re.findall(r"`(\w+\.yaml)`[^`]*\n\n```yaml\n", PAGE)
    texts = re.findall(r"`\w+\.yaml`[^`]*\n\n```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert names == ["data_catalog.yaml", "training.yaml", "job.yaml"]
    for name, text in zip(names, texts):
        (folder / name).write_text(text)
    return folder


def typed(line: str) -> str:
    words = shlex.split(line)
    assert words[0] == "geoseg"
    answer = geoseg(*words[1:])
    assert answer.code == 0, answer
    return answer.out


@pytest.mark.slow
@pytest.mark.rendered
def test_the_worked_example_of_the_page_works(tmp_path, monkeypatch):
    folder = made(tmp_path)
    monkeypatch.chdir(folder)
    train, run, evaluate = map(typed, LINES)

    rows = [line.split("\t") for line in train.splitlines() if "\t" in line]
    assert [row[0] for row in rows] == ["class", "water", "field", "forest", "mean", "mean, random forest"]
    assert all(float(row[5]) > 0.8 for row in rows[1:5])
    listed = re.findall(
        r"^\| `([\w.]+)` \| ", PAGE[PAGE.index("## What comes out") : PAGE.index("## How")], re.MULTILINE
    )
    assert sorted(listed) == sorted(path.name for path in (folder / "valley-cover").iterdir())
    card = read_model(folder / "valley-cover").card
    assert (card.halo, card.training["recipe"]["chips"]["buffer"]) == (8, 8)
    head = (folder / "valley-cover/learning_curves.csv").read_text().splitlines()[0].split(",")
    described = PAGE[PAGE.index("A line for each epoch") : PAGE.index("`learning_curves.png`")]
    expected = [key.replace("<class>", name) for key in re.findall("`([^`]+)`", described)
                for name in (("water", "field", "forest") if "<class>" in key else ("",))]  # fmt: skip
    assert head == expected

    # 70 % of the width is seen, and of its squares about 70 % are training, less the buffer.
    for out in (run, evaluate):
        (said,) = re.findall(r"(\d+)% of the scored pixels lie in areas that the model valley-cover", out)
        assert 5 < int(said) < 40
    areas = card.areas[0]
    assert max(right for _, _, right, _ in (*areas.train, *areas.validation, *areas.test)) <= 500_000 + 0.7 * 2600
    east = typed(f"{LINES[-1]} --region {500_000 + 0.72 * 2600},5190000,510000,5210000")
    assert "no scored pixel lies in an area that the model valley-cover was trained on" in east
