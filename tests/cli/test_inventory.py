"""Inventory: a catalog's entries, each with what it is or why it cannot be used; one that is bad hides no other."""

import re

import geopandas
import numpy as np
import pytest
import shapely
from small_jobs import SmallJob, geoseg
from strategies import write

from geoseg import catalog
from geoseg.cli import inventory
from geoseg.errors import CatalogError


@pytest.fixture
def job(tmp_path):
    """A catalog with an entry of each kind."""
    job = SmallJob.write(tmp_path / "job")
    write(job.folder / "truth.tif", np.ones((1, 40, 50), np.uint8), nodata=0)
    park = geopandas.GeoDataFrame({"name": ["Zion"]}, geometry=[shapely.box(0, 0, 1, 1)], crs="EPSG:4326")
    park.to_file(job.folder / "parks.gpkg")
    held = job.load("data_catalog.yaml")
    held |= {
        "references": {"truth": {"file": "truth.tif", "legend": "mine"}},
        "legends": {"mine": {"classes": [{"id": 1, "name": "wet", "colour": "#0000ff"}]}},
        "crosswalks": {"up": {"from": "mine", "to": "landsat-6class", "classes": {1: 1}, "lossy": {1: "a marsh."}}},
        "regions": {
            "box": {"bounds": [0, 1, 2, 3], "crs": "EPSG:4326"},
            "park": {"file": "parks.gpkg", "where": "name = 'Zion'"},
        },
    }
    job.save("data_catalog.yaml", held)
    return job


def rows(job, **options):
    listed = dict(inventory.listing(job.folder / "data_catalog.yaml", **options))
    return {kind: {row.name: row for row in found} for kind, found in listed.items()}


def test_each_entry_says_what_it_is(job):
    found = rows(job)
    assert found["imagery"]["scene"].what.startswith("nir, red; 40 x 50 px, EPSG:")
    assert found["references"]["truth"].what == "truth.tif; legend mine"
    assert found["models"]["tiny"].what.startswith("bands red, nir; 3 classes")
    assert found["regions"]["box"].what == "bounds 0, 1, 2, 3 in EPSG:4326"
    assert found["regions"]["park"].what == str(job.folder / "parks.gpkg")
    assert found["legends"]["mine"].what == "1 class"
    assert found["crosswalks"]["up"].what == "mine to landsat-6class: 1 class, 1 of them lossy"
    assert all(row.checked and not row.trouble for each in found.values() for row in each.values())


def test_own_entries_stand_before_those_that_are_shipped(job):
    found = rows(job, check=False, shipped=True)
    assert list(found) == ["imagery", "references", "models", "regions", "legends", "crosswalks"]
    assert next(iter(found["legends"])) == "mine"
    assert set(found["legends"]) == {"mine", *catalog.shipped().names("legends")}
    assert {kind: list(each) for kind, each in rows(job, check=False).items()} == {
        "imagery": ["scene"], "references": ["truth"], "models": ["tiny"], "regions": ["box", "park"],
        "legends": ["mine"], "crosswalks": ["up"],
    }  # fmt: skip


BREAK = {
    "imagery": ("scene", lambda job: (job.folder / "scene.tif").unlink(), "does not exist|no file"),
    "references": ("truth", lambda job: (job.folder / "truth.tif").write_bytes(b"x"), "truth.tif"),
    "models": (
        "tiny",
        lambda job: (job.folder / "model" / "weights.safetensors").write_bytes(b"x"),
        "is no safetensors",
    ),
    "regions": ("park", lambda job: (job.folder / "parks.gpkg").write_text("<x>"), "is no GeoPackage"),
}


@pytest.mark.parametrize("kind", BREAK)
def test_a_bad_entry_is_told_apart_and_hides_no_other(job, kind):
    name, harm, said = BREAK[kind]
    harm(job)
    found = rows(job)
    troubled = {row.name: row.trouble for each in found.values() for row in each.values() if row.trouble}
    assert list(troubled) == [name]
    assert re.search(said, troubled[name])
    listed = geoseg("catalog", job.folder / "data_catalog.yaml")
    assert listed.code == 2
    assert "1 of the entries of" in listed.err
    assert troubled[name][:40] in listed.out
    assert not any(row.trouble for each in rows(job, check=False).values() for row in each.values())
    assert geoseg("catalog", job.folder / "data_catalog.yaml", "--no-check").code == 0


def test_a_catalog_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(CatalogError, match="does not exist"):
        list(inventory.listing(tmp_path / "data_catalog.yaml"))
