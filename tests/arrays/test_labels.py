"""Labels: the notebook's map is the run's map, of files and of any array, chunk by chunk, only when it is computed."""

import json
import pickle
import shutil
import warnings

import dask
import dask.array
import numpy as np
import pytest
import rasterio
import xarray
from array_scenes import APART, KINDS, PLACES, put, rio, run
from clusters import Processes, client_of
from model_folders import IDS, write_model
from strategies import write

from geoseg import imagery
from geoseg.arrays import chunks, open_imagery, segment
from geoseg.arrays import write as write_map
from geoseg.catalog.legend import NODATA
from geoseg.errors import CatalogError, GridError, JobError

# odc-geo 0.5.3 and rioxarray 0.19 multiply Affines with *, which affine deprecates; goes when they use @.
pytestmark = pytest.mark.filterwarnings(r"ignore:Use `@` matmul:PendingDeprecationWarning:(odc\.geo|rioxarray)\..*")


@pytest.fixture(autouse=True)
def _serial():
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model"), normalisation={"kind": "scene"})


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.sampled(6)
def test_a_segmented_array_equals_the_map_of_a_run(tmp_path, model, place):
    catalog = put(tmp_path, (75, 91), *PLACES[place])
    labels, sure, affine, crs = run(tmp_path, model)
    made = segment(open_imagery("scene", catalog=catalog), model, confidence=True)
    assert np.array_equal(made.land_cover, labels)
    assert np.array_equal(made.confidence, sure)
    assert made.land_cover.odc.geobox.affine.almost_equals(affine, 1e-6)
    assert made.land_cover.odc.crs.epsg == crs.to_epsg()
    assert set(np.unique(labels)) <= {*IDS, NODATA}
    assert len(np.unique(labels)) > 2


@pytest.mark.parametrize(
    ("place", "kind", "apart"),
    [("oblong", kind, False) for kind in KINDS]
    + [("oblong", kind, True) for kind in APART]
    + [(place, kind, False) for place in PLACES for kind in ("loaded", "NumPy", "Dask") if place != "oblong"]
    + [(place, "Dataset of NumPy", True) for place in PLACES if place != "oblong"],
)
@pytest.mark.sampled(9)
def test_the_map_of_any_array_equals_the_map_of_a_run(shared, model, monkeypatch, place, kind, apart):
    monkeypatch.setattr(chunks, "EDGE", 32)
    folder, labels, sure, affine, crs = shared(place, apart)
    given = (APART if apart else KINDS)[kind](folder)
    made = segment(given, model, confidence=True)
    assert made.land_cover.data.npartitions > 4
    assert np.array_equal(made.land_cover, labels)
    assert np.array_equal(made.confidence, sure)
    assert made.land_cover.odc.geobox.affine.almost_equals(affine, 1e-6)
    assert made.land_cover.odc.crs.epsg == crs.to_epsg()
    assert made.land_cover.odc.geobox.shape == (given.sizes["y"], given.sizes["x"])


@pytest.fixture(scope="module")
def shared(tmp_path_factory, model):
    """Scenes and their maps by place, each made once."""
    made = {}

    def get(place, apart):
        if (place, apart) not in made:
            folder = tmp_path_factory.mktemp(place.replace(" ", "_"))
            put(folder, (75, 91), *PLACES[place], scale=1, apart=apart)
            made[place, apart] = folder, *run(folder, model)
        return made[place, apart]

    return get


def test_a_region_and_another_grid_equal_the_run_too(tmp_path, model):
    catalog = put(tmp_path)
    region = {"bounds": [300400, 4198300, 301900, 4199700], "crs": "EPSG:32612"}
    labels, _, affine, _ = run(tmp_path, model, region=region, grid={"crs": "EPSG:32612", "resolution": 22})
    scene = open_imagery("scene", catalog=catalog, region=region, grid=("EPSG:32612", 22))
    made = segment(scene, model)
    assert np.array_equal(made, labels)
    assert made.odc.geobox.affine.almost_equals(affine, 1e-6)
    assert (made.values[scene.isnull().any("band").values] == NODATA).all()


def test_options_of_a_job_are_those_of_an_array(tmp_path, model):
    asked = {"tta": "d4", "temperature": 2.0, "classes": ["class 3", 200], "thresholds": {"class 3": 0.55}}
    catalog = put(tmp_path, (40, 50))
    labels, sure, *_ = run(tmp_path, model, inference=asked)
    scene = open_imagery("scene", catalog=catalog)
    for given in (scene, scene.compute()):
        made = segment(given, model, confidence=True, **asked)
        assert np.array_equal(made.land_cover, labels)
        assert np.array_equal(made.confidence, sure)
    data = ~scene.isnull().any("band").values
    assert 0 < (labels == NODATA)[data].sum() < data.sum() / 2
    assert set(np.unique(labels)) == {3, 200, NODATA}


def test_an_ensemble_of_a_job_is_that_of_an_array(tmp_path, model):
    other = write_model(tmp_path / "other", seed=3, name="other")
    catalog = put(tmp_path, (40, 50))
    labels, *_ = run(tmp_path, model, model=[model.folder, other.folder])
    scene = open_imagery("scene", catalog=catalog)
    for given in (scene, scene.compute()):
        made = segment(given, [model, other.folder])
        assert np.array_equal(made, labels)
        assert made.attrs["model"] == "tiny + other"
    assert not np.array_equal(segment(scene, model), labels)
    with pytest.raises(JobError, match="an empty list of models"):
        segment(scene, [])


@pytest.mark.parametrize("stitch", ["crop", "blend"])
@pytest.mark.sampled(2)
def test_percentiles_are_those_of_the_scene_however_it_is_cut(tmp_path, monkeypatch, stitch):
    model = write_model(tmp_path / "m", normalisation={"kind": "percentile", "percentiles": [2, 98]})
    catalog = put(tmp_path, (40, 50))
    labels, sure, place, _ = run(tmp_path, model, inference={"stitch": stitch})
    shutil.rmtree(tmp_path / "out")
    part = {"bounds": [300300, 4199000, 301200, 4199800], "crs": "EPSG:32612"}
    corner, _, there, _ = run(tmp_path, model, inference={"stitch": stitch, "block": 16}, region=part)
    col, row = (round(each) for each in ~place @ (there.c, there.f))
    inside = labels[row : row + corner.shape[0], col : col + corner.shape[1]]
    assert (corner != NODATA).mean() > 0.5
    assert np.array_equal(inside[corner != NODATA], corner[corner != NODATA])
    scene = open_imagery("scene", catalog=catalog)
    monkeypatch.setattr(chunks, "EDGE", 16)
    for given in (scene, scene.compute()):
        made = segment(given, model, confidence=True, stitch=stitch)
        assert np.array_equal(made.land_cover, labels)
        assert np.array_equal(made.confidence, sure)


def test_layers_of_a_job_are_those_of_an_array(tmp_path, model, monkeypatch):
    monkeypatch.setattr(chunks, "EDGE", 32)
    layers = {"confidence": True, "probabilities": True, "entropy": True, "margin": True}
    catalog = put(tmp_path, (40, 50))
    run(tmp_path, model, outputs={"report": False, "quicklook": False, **layers}, inference={"classes": [200, 3]})
    scene = open_imagery("scene", catalog=catalog)
    for given in (scene, scene.compute()):
        made = segment(given, model, classes=[200, 3], **layers)
        assert list(made["class"].values) == ["class 3", "class 200"]
        for name in layers:
            with rasterio.open(tmp_path / "out" / f"{name}.tif") as source:
                assert np.array_equal(np.atleast_3d(made[name].values.T).T, source.read())
    alone = segment(scene, model, margin=True)
    assert set(alone.data_vars) == {"land_cover", "margin"}


@pytest.mark.parametrize("chunk", [16, 40, 64])
@pytest.mark.sampled(3)
def test_chunks_change_no_pixel(tmp_path, model, monkeypatch, chunk):
    catalog = put(tmp_path)
    scene = open_imagery("scene", catalog=catalog)
    whole, labels = scene.compute(), segment(scene, model, stitch="blend").compute()
    monkeypatch.setattr(chunks, "EDGE", chunk)
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


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [16, 40])
@pytest.mark.sampled(2)
def test_windows_that_are_blended_see_the_same_in_any_array(tmp_path, model, monkeypatch, chunk):
    monkeypatch.setattr(chunks, "EDGE", chunk)
    put(tmp_path, scale=1)
    labels, sure, _, _ = run(tmp_path, model, inference={"stitch": "blend"})
    made = segment(rio(tmp_path, chunks={"y": 31, "x": 29}), model, stitch="blend", confidence=True)
    assert np.array_equal(made.land_cover, labels)
    assert np.array_equal(made.confidence, sure)


def test_what_is_passed_is_what_is_mapped(tmp_path, model):
    put(tmp_path)
    scene = rio(tmp_path)
    part = {"y": slice(13, 60), "x": slice(7, 48)}
    alone = xarray.DataArray(
        scene.isel(part).values,
        {"band": ["red", "nir"], "y": scene.y.values[part["y"]], "x": scene.x.values[part["x"]]},
        ("band", "y", "x"),
        attrs={"_FillValue": 0},
    ).odc.assign_crs("EPSG:32612")
    made = segment(scene.isel(part), model).compute()
    assert np.array_equal(made, segment(alone, model))
    assert np.array_equal(made, segment(rio(tmp_path, chunks={"y": 20, "x": 30}).isel(part), model))
    assert not np.array_equal(made, segment(scene, model).isel(part))  # of which the edges see more
    xarray.testing.assert_identical(
        (scene.isel(part).isel(band=0) * 0 + made).coords.to_dataset().drop_vars("band"), made.coords.to_dataset()
    )  # so the map lies exactly on the array


def test_changed_pixels_are_mapped_as_they_are(tmp_path, model):
    scene = open_imagery("scene", catalog=put(tmp_path))
    with xarray.set_options(keep_attrs=True):
        cloudy = scene.where(scene.x > scene.x[40])
        brighter = scene + 1
    masked, whole = segment(cloudy, model).compute(), segment(scene, model).compute()
    assert (masked[:, :41] == NODATA).all()
    assert np.array_equal(masked[:, 70:] == NODATA, whole[:, 70:] == NODATA)
    # All is normalised by the statistics of what was given, so a constant changes nothing but the last digits.
    assert (segment(brighter, model).values == whole.values).mean() > 0.99
    fixed = write_model(tmp_path / "fixed", normalisation={"kind": "fixed", "mean": [1.5, 1.5], "std": [1, 1]})
    assert not np.array_equal(segment(brighter, fixed), segment(scene, fixed))


def reads(monkeypatch):
    """Windows that are read from files from now on."""
    found, read = [], imagery.read
    monkeypatch.setattr(imagery, "read", lambda scene, grid, window: found.append(window) or read(scene, grid, window))
    return found


SELECTIONS = {
    "whole": lambda scene: scene,
    "isel": lambda scene: scene.isel(y=slice(13, 50), x=slice(7, 60)),
    "sel": lambda scene: scene.sel(y=slice(4199500, 4198000)),
    "brackets": lambda scene: scene[:, 13:, :-7],
    "bands turned": lambda scene: scene.sel(band=["nir", "red"]),
    "bands and a part": lambda scene: scene.sel(band=["red", "nir"]).isel(y=slice(3, 30)),
    "a part and bands": lambda scene: scene[:, 3:30].isel(band=[1, 0]),
    "all at once": lambda scene: scene.isel(band=[1, 0], y=slice(3, 30)),
    "persisted": lambda scene: scene.persist(),
}
OTHERS = {
    "thinned": lambda scene: scene[:, ::2],
    "flipped": lambda scene: scene[:, ::-1],
    "moved": lambda scene: scene.assign_coords(x=scene.x + 30),
    "twice sliced": lambda scene: scene[:, 3:60][:, 2:],
    "loaded": lambda scene: scene.load(),
    "changed": lambda scene: (scene * 2).assign_attrs(scene.attrs),
    "another's origin": lambda scene: (scene * 1).assign_attrs(scene.attrs),
    "no origin": lambda scene: scene.drop_attrs(deep=False),
    "a damaged origin": lambda scene: scene.assign_attrs(geoseg_origin="{"),
    "an origin of another kind": lambda scene: scene.assign_attrs(geoseg_origin=3),
    "rechunked": lambda scene: scene.chunk(y=10),
}


@pytest.mark.parametrize("how", [*SELECTIONS, *OTHERS])
@pytest.mark.sampled(9)
def test_files_are_read_beyond_the_edges_only_for_imagery_as_it_was_opened(tmp_path, model, how):
    fixed = write_model(tmp_path / "fixed", normalisation={"kind": "fixed", "mean": [1.5, 1.5], "std": [1, 1]})
    given = (SELECTIONS | OTHERS)[how](open_imagery("scene", catalog=put(tmp_path)))
    made = segment(given, fixed)
    whole = segment(open_imagery("scene", catalog=tmp_path / "data_catalog.yaml"), fixed)
    read_files = any("piece" in str(key) or "stack" in str(key) for key in dict(made.data.dask)) is False
    assert read_files == (how in SELECTIONS)
    if how in SELECTIONS:
        xarray.testing.assert_equal(made.compute(), whole.sel(y=made.y, x=made.x).compute())
    assert made.shape == given.shape[1:]
    assert {*np.unique(made)} <= {*IDS, NODATA}


def test_nothing_is_read_before_it_is_computed(tmp_path, model, monkeypatch):
    fixed = write_model(tmp_path / "fixed", normalisation={"kind": "fixed", "mean": [1.5, 1.5], "std": [1, 1]})
    catalog, windows = put(tmp_path), reads(monkeypatch)
    scene = open_imagery("scene", catalog=catalog)
    made = [segment(scene, fixed), segment(scene + 1, fixed)]
    assert not windows
    assert all(each.chunks is not None for each in made)
    made[0].compute()
    assert len(windows) == made[0].data.npartitions


def test_the_graph_is_small_and_holds_no_network(tmp_path, model):
    catalog = put(tmp_path)
    graph = pickle.dumps(dict(segment(open_imagery("scene", catalog=catalog), model).data.dask))
    assert len(graph) < 10_000
    assert b"torch" not in graph
    assert model.weights.read_bytes()[-64:] not in graph


@pytest.mark.slow
def test_a_plan_of_many_files_stands_in_the_graph_once(tmp_path, monkeypatch):
    monkeypatch.setattr(chunks, "EDGE", 16)
    fixed = write_model(tmp_path / "fixed", normalisation={"kind": "fixed", "mean": [1.5, 1.5], "std": [1, 1]})
    (tmp_path / "many").mkdir()
    first = write(tmp_path / "many" / "0000.tif", np.ones((2, 64, 64), "uint16"))
    for number in range(1, 2000):
        (tmp_path / "many" / f"{number:04}.tif").hardlink_to(first)
    scene = open_imagery(str(tmp_path / "many" / "*.tif"), bands=["red", "nir"])
    for made in (scene.data, segment(scene, fixed).data):
        for graph in (dict(made.dask), dict(dask.optimize(made)[0].dask)):
            tasks = {key: pickle.dumps(task) for key, task in graph.items()}
            naming = [key for key, task in tasks.items() if b"0777.tif" in task]
            assert naming == [f"{first_name(made)}-shared"]
            assert len(tasks.pop(naming[0])) > 100_000
            assert len(tasks) >= made.npartitions > 15
            assert max(map(len, tasks.values())) < 10_000


def first_name(array):
    """Name of the layer that makes an array's chunks."""
    return next(key[0] for key in array.dask if isinstance(key, tuple) and f"{key[0]}-shared" in array.dask)


@pytest.mark.slow
def test_a_cluster_makes_the_same_map(tmp_path, model, monkeypatch):
    monkeypatch.setattr(chunks, "EDGE", 32)
    scene = open_imagery("scene", catalog=put(tmp_path))
    maps = [segment(scene, model, confidence=True), segment(rio(tmp_path, chunks=17), model, confidence=True)]
    wanted = [each.compute() for each in maps]
    processes = Processes(tmp_path, warm=True)
    try:
        processes.scheduler()
        processes.workers(2)
        with client_of(processes, 2) as client:
            found = [future.result(timeout=120) for future in client.compute(maps)]
    finally:
        processes.end()
    for each, want in zip(found, wanted):
        xarray.testing.assert_identical(each, want)


def test_a_map_says_what_its_values_mean(tmp_path, model):
    import rioxarray  # noqa: F401

    made = segment(open_imagery("scene", catalog=put(tmp_path)), model.folder)
    assert made.dtype == "uint8"
    assert made.attrs["flag_values"].tolist() == list(IDS)
    assert made.attrs["flag_meanings"] == "class_3 class_7 class_200"
    assert made.attrs["flag_colors"] == "#038040 #078040 #c88040"
    assert made.attrs["model_sha256"] == model.card.weights.sha256
    assert made.rio.nodata == NODATA


def test_bad_requests_are_refused_by_name(tmp_path, model, monkeypatch):
    catalog = put(tmp_path)
    scene = open_imagery("scene", catalog=catalog)
    for lacking in (scene.sel(band=["red"]), scene.sel(band=["red"]).load(), scene.sel(band="red")):
        with pytest.raises(CatalogError, match="model 'tiny' needs band 'nir'"):
            segment(lacking, model)
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


# ----------------------------------------------------------------------------- what the model was made for


EXPECTED = {"what": "reflectance x 1000", "low": 0, "high": 4000, "dark": 100, "bright": 2000}
WRONG = {
    "pixels": ({"gsd_m": 10}, {}, r"trained at pixels of 10 m and the grid's have 30 m; .*resolution: 10\}"),
    "values": ({"radiometry": {**EXPECTED, "low": -10, "high": -1, "dark": None, "bright": None}}, {}, "lie beyond"),
    "reflectance": (
        {"radiometry": EXPECTED},
        {"scale": 0.001},
        "the values of .* are about 1.5, at most .*, which looks like another unit|reflectance",
    ),
    "type": (
        {"radiometry": {"dtype": "uint8"}},
        {},
        "expects files of uint8, but the numbers of band 'red' are uint16",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("way", ["files", "array", "Dask"])
@pytest.mark.sampled(3)
def test_what_a_model_was_not_made_for_is_refused_or_warned_of(tmp_path, kind, way):
    keys, how, sentence = WRONG[kind]
    if way != "files" and how:
        how = {"scale": 1}
        keys = {"radiometry": {**EXPECTED, "bright": 20000}}
    catalog = put(tmp_path, **{"scale": 1, **how})
    made_for = write_model(tmp_path / "made_for", **keys)
    ways = {"array": None, "Dask": {"y": 20, "x": 30}}
    given = open_imagery("scene", catalog=catalog) if way == "files" else rio(tmp_path, chunks=ways[way])
    with pytest.raises(JobError, match=sentence) as caught:
        segment(given, made_for)
    said = str(caught.value)
    assert said.endswith(", or go on all the same with force=True")
    assert "\n" not in said
    assert ("catalog" in said) <= (way == "files")
    made, warned = warnings_of(lambda: segment(given, made_for, force=True, confidence=True))
    (told,) = made.land_cover.attrs["forced"]
    assert warned == [told]
    assert said.startswith(told)
    any_model = write_model(tmp_path / "any")
    plain = segment(given, any_model)
    assert "forced" not in plain.attrs
    assert np.array_equal(made.land_cover, plain)
    write_map(made.land_cover, tmp_path / "map.tif")
    with rasterio.open(tmp_path / "map.tif") as file:
        assert json.loads(file.tags()["GEOSEG_FORCED"]) == [told]


def test_values_may_be_any_where_the_job_may_map_any(tmp_path):
    made_for = write_model(tmp_path / "made_for", radiometry={**EXPECTED, "bright": 20000})
    put(tmp_path, scale=1)
    _, (warned,) = warnings_of(lambda: segment(rio(tmp_path), made_for, any_values=True))
    assert "looks like another unit" in warned


def warnings_of(call):
    """What a call gives, and what it warns of; pytest.warns would warn again of others as if from here."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = call()
    return made, [str(each.message) for each in caught if each.category is UserWarning]


@pytest.mark.slow
def test_few_chunks_of_a_large_array_are_looked_at(tmp_path):
    made_for = write_model(tmp_path / "made_for", radiometry=EXPECTED)
    computed = []

    def numbers(block_info=None):
        computed.append(block_info[None]["chunk-location"])
        return np.random.default_rng(0).integers(50, 3000, (2, 256, 256)).astype("uint16")

    pixels = dask.array.map_blocks(
        numbers, chunks=((2,), (256,) * 40, (256,) * 40), dtype="uint16", meta=np.empty((0, 0, 0), "uint16")
    )
    axis = np.arange(40 * 256)
    coords = {"band": ["red", "nir"], "y": 4e6 - 30.0 * axis, "x": 3e5 + 30.0 * axis}
    given = xarray.DataArray(pixels, coords, ("band", "y", "x")).odc.assign_crs("EPSG:32612")
    made = segment(given, made_for)
    assert 1 < len(set(computed)) <= 64
    assert made.shape == (10240, 10240)


def test_floats_that_were_decoded_have_the_type_of_their_file(tmp_path):
    put(tmp_path, scale=1)
    made_for = write_model(tmp_path / "made_for", radiometry={"dtype": "uint16"})
    given = rio(tmp_path, masked=True)
    assert given.dtype == "float32"
    assert segment(given, made_for).shape == given.shape[1:]
    bytes_only = write_model(tmp_path / "bytes", radiometry={"dtype": "uint8"})
    with pytest.raises(JobError, match="the numbers of band 'red' are uint16 in the array"):
        segment(given, bytes_only)
    nobody_says = given.copy()
    nobody_says.encoding = {}
    assert segment(nobody_says, bytes_only).shape == given.shape[1:]
    nobody_says.encoding = {"dtype": "int16", "scale_factor": 0.1}
    assert segment(nobody_says, bytes_only).shape == given.shape[1:]
