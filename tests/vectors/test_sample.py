"""Sample: the right number of points, each in its class, drawn evenly, and the same however the map is read."""

from collections import Counter

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
from affine import Affine
from scipy import stats
from small_jobs import geoseg

from geoseg.errors import CatalogError, RasterError
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
@pytest.mark.parametrize("allocation", ["proportional", "equal", "optimal"])
def test_points_lie_amid_pixels_of_their_stratum_and_are_blank(map_file, tmp_path, ending, allocation):
    made = sample.draw(map_file, tmp_path / f"p{ending}", 200, allocation=allocation, least=10).points
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


@pytest.mark.slow
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


@pytest.mark.parametrize("ending", [".gpkg", ".csv", ".geojson"])
def test_a_sample_that_agrees_everywhere_is_accurate_without_doubt(map_file, tmp_path, ending):
    points = tmp_path / f"p{ending}"
    said = geoseg("sample", map_file, "--out", points, "--n", 80, "--min-per-class", 5)
    assert said.code == 0, said.err
    assert said.out.splitlines()[-1].endswith(f"geoseg assess {map_file} {points}")
    if ending == ".csv":
        table = pd.read_csv(points)
        table.assign(label=table["stratum"]).to_csv(points, index=False)
    else:
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


def test_the_number_follows_from_the_standard_error_that_is_wanted(map_file, tmp_path):
    words = ("sample", map_file, "--out", tmp_path / "p.csv", "--standard-error", "0.02", "--expected", "0.7")
    said = geoseg(*words, "--expected", "9=0.9", "--allocation", "optimal", "--min-per-class", 2)
    assert said.code == 0, said.err
    with rasterio.open(map_file) as source:
        counts = Counter(source.read(1).ravel().tolist())
    total = sum(pixels for each, pixels in counts.items() if each != 255)
    weights, accurate = [counts[each] / total for each in (1, 2, 9)], np.array([0.7, 0.7, 0.9])
    spread = np.sqrt(accurate * (1 - accurate))
    wanted = (weights @ spread) ** 2 / (0.02**2 + weights @ spread**2 / total)
    number = sum(int(line.split("\t")[1]) for line in said.out.splitlines()[1:4])
    assert abs(number - wanted) <= 3
    assert "in all; standard error of overall accuracy 0.02" in said.out
    assert len(pd.read_csv(tmp_path / "p.csv")) == number


def test_contradictions_are_refused(map_file, tmp_path):
    with pytest.raises(CatalogError, match="one follows from the other"):
        sample.draw(map_file, tmp_path / "p.csv", 10, standard_error=0.01)
    with pytest.raises(CatalogError, match="a standard error of 2 was asked for"):
        sample.draw(map_file, tmp_path / "p.csv", standard_error=2)


def test_kml_is_for_looking(map_file, tmp_path):
    said = geoseg("sample", map_file, "--out", tmp_path / "p.kml", "--n", 20)
    assert "to look at; labels go into a .csv or .gpkg of the same --seed" in said.out


def test_points_may_be_drawn_within_strata_that_are_no_classes(map_file, tmp_path):
    strata = tmp_path / "strata.tif"
    codes = np.where(np.arange(70) < 30, 1, 2).astype(np.uint8) * np.ones((90, 70), np.uint8)
    with rasterio.open(map_file) as source:
        profile, mapped = source.profile, source.read(1)
    with rasterio.open(strata, "w", **profile) as target:
        target.write(codes, 1)
    points = tmp_path / "p.csv"
    assert geoseg("sample", strata, "--out", points, "--n", 60).code == 0
    table = pd.read_csv(points)
    x, y = table["longitude"], table["latitude"]
    there = gpd.GeoSeries.from_xy(x, y, crs=4326).to_crs(32633)
    cols, rows = ~TRANSFORM @ (there.x.to_numpy(), there.y.to_numpy())
    truth = mapped[rows.astype(int), cols.astype(int)]
    table.assign(label=np.where(truth == 255, 1, truth)).to_csv(points, index=False)
    said = geoseg("assess", map_file, points, "--strata", strata)
    assert said.code == 0, said.err
    assert "overall accuracy 1.000 ± 0.000" in said.out
