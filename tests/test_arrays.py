"""Arrays: the notebook's map is the run's map, made chunk by chunk and only when it is computed."""

import json
import pickle

import dask
import numpy as np
import pytest
import rasterio
import xarray
from affine import Affine
from model_folders import IDS, write_model
from strategies import NORTH_UP, OBLONG, ROTATED, write

import geoseg
from geoseg import arrays, imagery
from geoseg.arrays import open_imagery, segment
from geoseg.catalog.legend import NODATA
from geoseg.errors import CatalogError, GridError, JobError
from geoseg.jobs import resolve
from geoseg.jobs import run as job_run
from geoseg.jobs import spec as job_spec

BANDS = ("red", "nir")
# odc-geo 0.5.3 and rioxarray 0.19 multiply Affines with *, which affine deprecates; goes when they use @.
pytestmark = pytest.mark.filterwarnings(r"ignore:Use `@` matmul:PendingDeprecationWarning:(odc\.geo|rioxarray)\..*")


@pytest.fixture(autouse=True)
def _serial():
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model"), normalisation={"kind": "scene"})


def put(folder, shape=(75, 91), transform=NORTH_UP, name="scene.tif"):
    """Two bands of noise with a hole and a corner without data; the catalog that names them."""
    pixels = np.random.default_rng(5).integers(1, 3000, (2, *shape)).astype("uint16")
    pixels[0, 10:14, 20:30] = 0
    pixels[:, -20:, -30:] = 0
    write(folder / name, pixels, transform, nodata=0)
    text = {"scene": {"files": name, "bands": dict(zip(BANDS, (1, 2))), "scale": 0.001, "attribution": "Noise"}}
    (folder / "data_catalog.yaml").write_text(json.dumps({"imagery": text}))
    return folder / "data_catalog.yaml"


def run(folder, model, **keys):
    """The map that a run writes."""
    text = {"imagery": "scene", "model": model.folder, "outputs": {"quicklook": False, "confidence": True}, **keys}
    (folder / "job.yaml").write_text(json.dumps(text))
    plan = resolve.resolve(job_spec.read(folder / "job.yaml"))
    summary = job_run.run(plan, folder / "out", threads=1)
    with (
        rasterio.open(f"{summary.folder}/map.tif") as labels,
        rasterio.open(f"{summary.folder}/confidence.tif") as sure,
    ):
        return labels.read(1), sure.read(1), labels.transform, labels.crs


@pytest.mark.parametrize("transform", [NORTH_UP, OBLONG, ROTATED], ids=["north up", "oblong", "rotated"])
def test_a_segmented_array_equals_the_map_of_a_run(tmp_path, model, transform):
    catalog = put(tmp_path, transform=transform)
    labels, sure, affine, crs = run(tmp_path, model)
    made = segment(open_imagery("scene", catalog=catalog), model, confidence=True)
    assert np.array_equal(made.land_cover, labels)
    assert np.array_equal(made.confidence, sure)
    assert made.land_cover.odc.geobox.affine.almost_equals(affine, 1e-6)
    assert made.land_cover.odc.crs.epsg == crs.to_epsg()
    assert set(np.unique(labels)) <= {*IDS, NODATA}
    assert len(np.unique(labels)) > 2


def test_a_region_and_another_grid_equal_the_run_too(tmp_path, model):
    catalog = put(tmp_path)
    region = {"bounds": [300400, 4198300, 301900, 4199700], "crs": "EPSG:32612"}
    labels, _, affine, _ = run(tmp_path, model, region=region, grid={"crs": "EPSG:32612", "resolution": 22})
    scene = open_imagery("scene", catalog=catalog, region=region, grid=("EPSG:32612", 22))
    made = segment(scene, model)
    assert np.array_equal(made, labels)
    assert made.odc.geobox.affine.almost_equals(affine, 1e-6)
    assert (made.values[scene.isnull().any("band").values] == NODATA).all()


@pytest.mark.parametrize("chunk", [16, 40, 64])
def test_chunks_change_no_pixel(tmp_path, model, monkeypatch, chunk):
    catalog = put(tmp_path)
    scene = open_imagery("scene", catalog=catalog)
    whole, labels = scene.compute(), segment(scene, model, stitch="blend").compute()
    monkeypatch.setattr(arrays, "CHUNK", chunk)
    cut = open_imagery("scene", catalog=catalog)
    made = segment(cut, model, stitch="blend")
    assert cut.data.npartitions > 1
    assert made.data.npartitions > 1
    xarray.testing.assert_identical(cut.compute(), whole)
    with dask.config.set(scheduler="threads", num_workers=3):
        xarray.testing.assert_identical(made.compute(), labels)


def test_the_map_of_a_part_is_that_part_of_the_map(tmp_path, model):
    scene = open_imagery("scene", catalog=put(tmp_path))
    part = {"y": slice(13, 50), "x": slice(7, 8)}
    xarray.testing.assert_equal(segment(scene.isel(part), model).compute(), segment(scene, model).isel(part).compute())


def test_nothing_is_read_before_it_is_computed(tmp_path, model, monkeypatch):
    fixed = write_model(tmp_path / "fixed", normalisation={"kind": "fixed", "mean": [1.5, 1.5], "std": [1, 1]})
    catalog, reads, read = put(tmp_path), [], imagery.read

    def counted(scene, grid, window):
        reads.append(window)
        return read(scene, grid, window)

    monkeypatch.setattr(imagery, "read", counted)
    scene = open_imagery("scene", catalog=catalog)
    made = segment(scene, fixed)
    assert not reads
    assert made.chunks is not None
    made.compute()
    assert len(reads) == made.data.npartitions


def test_the_graph_is_small_and_holds_no_network(tmp_path, model):
    catalog = put(tmp_path)
    graph = pickle.dumps(dict(segment(open_imagery("scene", catalog=catalog), model).data.dask))
    assert len(graph) < 10_000
    assert b"torch" not in graph
    assert model.weights.read_bytes()[-64:] not in graph


def test_imagery_carries_its_place_and_nodata(tmp_path):
    import rioxarray  # noqa: F401

    scene = open_imagery(tmp_path / "scene.tif", bands=BANDS, catalog=put(tmp_path))
    named = open_imagery("scene", catalog=tmp_path / "data_catalog.yaml")
    assert scene.dims == ("band", "y", "x")
    assert list(scene.band.values) == list(BANDS)
    assert named.attrs["attribution"] == "Noise"
    assert named.dtype == "float32"
    assert np.allclose(named * 1000, scene, equal_nan=True)
    assert int(scene.isnull().sum()) == 2 * (40 + 600)
    with rasterio.open(tmp_path / "scene.tif") as source:
        assert scene.rio.transform().almost_equals(source.transform, 1e-6)
        assert scene.rio.crs == source.crs
        assert np.array_equal(scene[0].values[~scene[0].isnull()], source.read(1)[source.read(1) != 0])
    assert np.isnan(scene.rio.nodata)


def test_a_map_says_what_its_values_mean(tmp_path, model):
    import rioxarray  # noqa: F401

    made = segment(open_imagery("scene", catalog=put(tmp_path)), model.folder)
    assert made.dtype == "uint8"
    assert made.attrs["flag_values"].tolist() == list(IDS)
    assert made.attrs["flag_meanings"] == "class_3 class_7 class_200"
    assert made.attrs["flag_colors"] == "#038040 #078040 #c88040"
    assert made.attrs["model_sha256"] == model.card.weights.sha256
    assert made.rio.nodata == NODATA


def test_arrays_whose_pixels_are_not_the_files_are_refused(tmp_path, model):
    scene = open_imagery("scene", catalog=put(tmp_path))
    with xarray.set_options(keep_attrs=True):
        changed = [scene * 2, scene.where(scene > 1), scene.fillna(0)]
    for each in changed:
        with pytest.raises(GridError, match="this array was changed"):
            segment(each, model)
    for each in (scene.compute(), scene.drop_attrs(), xarray.DataArray(np.zeros((2, 3, 4)))):
        with pytest.raises(GridError, match="this array has none or was loaded"):
            segment(each, model)
    for each in (scene[:, ::2], scene[:, ::-1], scene[:, 3]):
        with pytest.raises(GridError, match=r"no longer those of its grid \(thinned, turned or flipped\)"):
            segment(each, model)


def test_bad_requests_are_refused_by_name(tmp_path, model, monkeypatch):
    catalog = put(tmp_path)
    scene = open_imagery("scene", catalog=catalog)
    with pytest.raises(CatalogError, match="model 'tiny' needs band 'nir'"):
        segment(scene.sel(band=["red"]), model)
    with pytest.raises(CatalogError, match="no model is called 'tinny'"):
        segment(scene, "tinny")
    with pytest.raises(JobError, match="unknown key 'windows'; did you mean 'window'"):
        segment(scene, model, windows=32)
    with pytest.raises(CatalogError, match="did you mean 'scene'"):
        open_imagery("scenes", catalog=catalog)
    with pytest.raises(CatalogError, match=r"say what its bands are, as bands=\{'red': 3\}"):
        open_imagery(tmp_path / "scene.tif")
    with pytest.raises(CatalogError, match="give at least one file and one band"):
        open_imagery([], bands=["red"])
    with pytest.raises(GridError, match="give 'source' or a CRS with a resolution"):
        open_imagery("scene", catalog=catalog, grid="EPSG:4326")
    with pytest.raises(GridError, match="they do not meet"):
        open_imagery("scene", catalog=catalog, region={"bounds": [0, 0, 1, 1], "crs": "EPSG:32612"})


def test_a_degree_grid_has_the_same_dimensions(tmp_path):
    write(tmp_path / "degrees.tif", np.ones((1, 5, 6), "uint8"), Affine(0.01, 0, 10, 0, -0.01, 50), crs="EPSG:4326")
    scene = geoseg.open_imagery(tmp_path / "degrees.tif", bands=["red"])
    assert scene.dims == ("band", "y", "x")
    assert scene.odc.geobox.affine.almost_equals(Affine(0.01, 0, 10, 0, -0.01, 50), 1e-9)
