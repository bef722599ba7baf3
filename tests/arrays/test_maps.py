"""Maps: the file of an array is the file of a run, and a picture has the legend's colours."""

import dask
import numpy as np
import pytest
import rasterio
import rioxarray
import xarray
from array_scenes import PLACES, put, rio, run
from matplotlib.figure import Figure
from model_folders import write_model
from rio_cogeo.cogeo import cog_validate

from geoseg.arrays import chunks, legend_of, open_imagery, plot, segment, write
from geoseg.catalog.legend import NODATA
from geoseg.errors import CatalogError, GridError, RasterError

# odc-geo 0.5.3 and rioxarray 0.19 multiply Affines with *, which affine deprecates; goes when they use @.
pytestmark = pytest.mark.filterwarnings(r"ignore:Use `@` matmul:PendingDeprecationWarning:(odc\.geo|rioxarray)\..*")


@pytest.fixture(autouse=True)
def _serial():
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model"), normalisation={"kind": "scene"})


@pytest.mark.parametrize(
    ("place", "loaded"), [(place, False) for place in PLACES] + [("rotated", True), ("degrees", True)]
)
@pytest.mark.sampled(9)
def test_a_written_array_is_the_map_of_a_run(tmp_path, model, monkeypatch, place, loaded):
    catalog = put(tmp_path, (75, 91), *PLACES[place])
    run(tmp_path, model)
    monkeypatch.setattr(chunks, "EDGE", 32)
    made = segment(open_imagery("scene", catalog=catalog), model)
    write(made.load() if loaded else made, tmp_path / "mine.tif")
    with rasterio.open(tmp_path / "mine.tif") as mine, rasterio.open(tmp_path / "out" / "map.tif") as theirs:
        assert np.array_equal(mine.read(1), theirs.read(1))
        facts = ({key: each.profile[key] for key in each.profile if key != "transform"} for each in (mine, theirs))
        assert next(facts) == next(facts)
        assert mine.transform.almost_equals(theirs.transform, 1e-6)
        assert mine.colormap(1) == theirs.colormap(1)
        assert mine.descriptions == theirs.descriptions
        tags = ("GEOSEG_MODEL", "GEOSEG_MODEL_SHA256", "TIFFTAG_COPYRIGHT")
        assert [mine.tags()[tag] for tag in tags] == [theirs.tags()[tag] for tag in tags]
    assert cog_validate(str(tmp_path / "mine.tif"), quiet=True)[0]
    assert b"class 200" in (tmp_path / "mine.tif.aux.xml").read_bytes()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_part_without_labels_is_written_too(tmp_path, model):
    put(tmp_path)
    made = segment(rio(tmp_path), model)
    write(made[-15:, -20:], tmp_path / "empty.tif")
    found = rioxarray.open_rasterio(tmp_path / "empty.tif")
    assert (found == NODATA).all()
    xarray.testing.assert_allclose(found.x, made.x[-20:])


def test_the_legend_outlives_a_file_of_the_array(tmp_path, model):
    put(tmp_path)
    made = segment(rio(tmp_path), model)
    assert legend_of(made) == model.card.legend
    plain = xarray.DataArray(0).assign_attrs({key: made.attrs[key] for key in made.attrs if key.startswith("flag")})
    assert legend_of(plain).names == ("class_3", "class_7", "class_200")
    assert legend_of(plain).ids == model.card.legend.ids
    one = plain.assign_attrs(flag_values=np.uint8(3), flag_meanings="water", flag_colors="#0000ff")  # as netCDF has it
    assert legend_of(one).names == ("water",)


def test_a_picture_has_the_legends_colours_and_the_arrays_ground(tmp_path, model):
    put(tmp_path)
    made = segment(rio(tmp_path), model)
    axes = Figure().subplots()
    assert plot(made, axes) is axes
    image = axes.images[0]
    colours = {each.id: (*each.rgb, 255) for each in model.card.legend.classes} | {NODATA: (0, 0, 0, 0)}
    assert set(np.unique(made)) == set(colours)
    for value, colour in colours.items():
        assert (image.get_array()[made.values == value] == colour).all()
    left, right, bottom, top = image.get_extent()
    assert (left, top) == made.odc.geobox.affine @ (0, 0)
    assert (right, bottom) == made.odc.geobox.affine @ (91, 75)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["class 3", "class 7", "class 200", "no data"]


def test_what_is_no_map_is_refused(tmp_path, model):
    put(tmp_path)
    made = segment(rio(tmp_path), model)
    for act in (lambda array: write(array, tmp_path / "a.tif"), plot, legend_of):
        with pytest.raises(CatalogError, match=r"does not say its classes .*copy them with \.assign_attrs"):
            act(made.drop_attrs(deep=False))
        with pytest.raises(CatalogError, match="names 3 values, 3 classes and 1 colours"):
            act(made.assign_attrs(flag_colors="#000000"))
    with pytest.raises(GridError, match="a map holds uint8, and this array int64"):
        write(made.astype("int64"), tmp_path / "a.tif")
    with pytest.raises(RasterError, match="its folder does not exist"):
        write(made, tmp_path / "none" / "a.tif")
    assert not (tmp_path / "a.tif").exists()


def test_a_failure_leaves_no_file_behind(tmp_path, model):
    """Pixels that fail while they are computed: nothing stands under the map's name, nor beside it."""
    put(tmp_path)
    made = segment(rio(tmp_path), model)

    def fail(block):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write(made.copy(data=made.data.map_blocks(fail, meta=np.empty((0, 0), np.uint8))), tmp_path / "a.tif")
    assert not [path for path in tmp_path.iterdir() if "a.tif" in path.name]
