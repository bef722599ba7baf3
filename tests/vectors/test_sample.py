"""Sample: the right number of points, each in its class, drawn evenly, and the same however the map is read."""

from collections import Counter

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from small_jobs import geoseg

from geoseg.errors import RasterError
from geoseg.vectors import sample
from geoseg.vectors.source import Source

TRANSFORM = Affine(10, 0, 500_000, 0, -10, 4_000_000)


@pytest.fixture
def map_file(tmp_path):
    """Three classes, the last of five pixels, and pixels without data."""
    codes = np.random.default_rng(1).choice([1, 2, 255], (90, 70), p=[0.2, 0.7, 0.1]).astype(np.uint8)
    codes[40, 10:15] = 9
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "nodata": 255, "crs": "EPSG:32633"}
    with rasterio.open(tmp_path / "map.tif", "w", height=90, width=70, transform=TRANSFORM, **profile) as target:
        target.write(codes, 1)
    return tmp_path / "map.tif"


@pytest.mark.parametrize("ending", [".gpkg", ".fgb", ".geojson"])
@pytest.mark.parametrize("allocation", ["proportional", "equal"])
def test_points_lie_amid_pixels_of_their_stratum_and_are_blank(map_file, tmp_path, ending, allocation):
    made = sample.draw(map_file, tmp_path / f"p{ending}", 200, allocation=allocation, least=10)
    frame = gpd.read_file(tmp_path / f"p{ending}").to_crs(32633)
    with rasterio.open(map_file) as source:
        codes = source.read(1)
        at = list(source.sample(zip(frame.geometry.x, frame.geometry.y)))
    assert np.array_equal(np.ravel(at), frame["stratum"])
    assert {str(each): count for each, count in Counter(frame["stratum"].tolist()).items()} == made
    assert made["9"] == 5
    assert frame["label"].isna().all()
    cols, rows = ~TRANSFORM @ (frame.geometry.x.to_numpy(), frame.geometry.y.to_numpy())
    assert np.allclose([rows % 1, cols % 1], 0.5, atol=1e-3)
    assert len({*zip(rows.round(1), cols.round(1))}) == len(frame)
    pixels = Counter(codes.ravel().tolist())
    for _, row in frame.iterrows():
        assert row["stratum_pixels"] == pixels[row["stratum"]]
        assert row["probability"] == pytest.approx(made[str(row["stratum"])] / pixels[row["stratum"]])


def test_the_seed_alone_decides_and_not_how_the_map_is_read(map_file, tmp_path, monkeypatch):
    def drawn(seed):
        sample.draw(map_file, tmp_path / "p.gpkg", 100, seed=seed, overwrite=True)
        return gpd.read_file(tmp_path / "p.gpkg")

    first, other, strips = drawn(4), drawn(5), Source.strips
    assert not first.geometry.equals(other.geometry)
    for rows in (1, 7, 90):
        monkeypatch.setattr(Source, "strips", lambda self, rows=rows: strips(self, rows))
        assert drawn(4).equals(first)


def test_each_pixel_is_as_likely_as_any_other_of_its_class(map_file, tmp_path):
    hits = Counter()
    for seed in range(60):
        sample.draw(map_file, tmp_path / "p.fgb", 300, seed=seed, overwrite=True)
        frame = gpd.read_file(tmp_path / "p.fgb")
        hits.update((frame.loc[frame["stratum"] == 2].geometry.y // 100).astype(int))  # rows of ten pixels
    with rasterio.open(map_file) as source:
        codes = source.read(1) == 2
    expected = codes.reshape(9, 10, -1).sum(axis=(1, 2))[::-1]
    found = np.array([hits[each] for each in sorted(hits)])
    assert stats.chisquare(found, expected * found.sum() / expected.sum()).pvalue > 1e-4


@given(
    st.dictionaries(st.integers(0, 254), st.integers(1, 10**9), min_size=1, max_size=9),
    st.integers(1, 5000),
    st.sampled_from(["proportional", "equal"]),
    st.integers(2, 50),
)
def test_points_add_up_to_what_was_asked_where_no_class_is_small(counts, number, allocation, least):
    given_ = sample.allocated(counts, number, allocation, least)
    assert all(min(least, counts[each]) <= points <= counts[each] for each, points in given_.items())
    plain = sample.allocated(dict.fromkeys(counts, 10**9) | counts, number, allocation, 0)
    if all(pixels >= number for pixels in counts.values()):
        assert sum(plain.values()) == number
    if allocation == "proportional" and len(counts) > 1:
        shares = {each: number * pixels / sum(counts.values()) for each, pixels in counts.items()}
        assert all(abs(plain[each] - min(counts[each], shares[each])) <= 1 for each in counts)


def test_a_sample_that_agrees_everywhere_is_accurate_without_doubt(map_file, tmp_path):
    points = tmp_path / "p.gpkg"
    said = geoseg("sample", map_file, "--out", points, "--n", 80, "--min-per-class", 5)
    assert said.code == 0, said.err
    assert said.out.splitlines()[-1].endswith(f"geoseg assess {map_file} {points}")
    frame = gpd.read_file(points)
    frame["label"] = frame["stratum"].astype(str)
    frame.to_file(points)
    assert "overall accuracy 1.000 ± 0.000" in geoseg("assess", map_file, points).out


@pytest.mark.parametrize(("name", "sentence"), [("p.shp", "is written to .gpkg"), ("folder.gpkg", "is there already")])
def test_what_cannot_be_written_is_refused(map_file, tmp_path, name, sentence):
    (tmp_path / "folder.gpkg").mkdir()
    with pytest.raises(RasterError, match=sentence):
        sample.draw(map_file, tmp_path / name, 10)


def test_a_map_without_data_is_refused(map_file, tmp_path):
    with rasterio.open(map_file, "r+") as target:
        target.write(np.full((90, 70), 255, np.uint8), 1)
    with pytest.raises(RasterError, match="holds no pixel with data"):
        sample.draw(map_file, tmp_path / "p.gpkg", 10)


def test_a_sample_that_someone_labelled_is_not_replaced_unasked(map_file, tmp_path):
    points = tmp_path / "p.gpkg"
    words = "sample", map_file, "--out", points, "--n", 20
    assert geoseg(*words).code == 0
    before = points.read_bytes()
    assert "may hold labels" in geoseg(*words, "--seed", 1).refusal("RasterError")
    assert points.read_bytes() == before
    assert geoseg(*words, "--seed", 1, "--overwrite").code == 0
    assert points.read_bytes() != before
