"""Warping: imagery and class ids on foreign grids, judged by PROJ point by point, by numpy, and by a warp in whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from examples import share_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyproj import Transformer
from rasterio.enums import Resampling
from rasterio.warp import reproject
from strategies import NORTH_UP, ROTATED, TRANSFORMS, coordinates, layer, windows, write

from geoseg import imagery
from geoseg.errors import RasterError
from geoseg.grid import Grid, Window, cut
from geoseg.imagery import Scene
from geoseg.rasters import footprints, warping
from geoseg.rasters.files import Source

GRIDS = {
    "shifted by a part of a pixel": Grid("EPSG:32612", (30.0, 0.0, 300007.0, 0.0, -30.0, 4199999.0)),
    "next UTM zone": Grid.regular("EPSG:32611", 30.0),
    "degrees": Grid.regular("EPSG:4326", 0.0003),
    "rotated": Grid("EPSG:32612", tuple(ROTATED @ Affine.rotation(11))[:6]),
    "coarser": Grid.regular("EPSG:32613", 95.0),
}


def smooth(rows: int, cols: int) -> np.ndarray:
    row, col = np.mgrid[0:rows, 0:cols]
    waves = np.stack([np.sin(row / 9) + np.cos(col / 7), np.cos(row / 5) * np.sin(col / 11)])
    return (waves * 5000 + 20000).astype(np.uint16)


def scene_of(folder: Path, pixels: np.ndarray, transform: Affine = NORTH_UP, **how: str) -> Scene:
    return imagery.open(layer(write(folder / "a.tif", pixels, transform, nodata=0), len(pixels), **how))


@pytest.fixture(scope="module")
def holed(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    pixels = smooth(411, 367)
    pixels[:, 100:160, 50:90] = 0
    pixels[:, np.random.default_rng(3).random(pixels.shape[1:]) < 0.001] = 0
    return scene_of(tmp_path_factory.mktemp("holed"), pixels)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "cubic"])
@pytest.mark.sampled(4)
def test_any_window_is_the_crop_of_any_larger_one_bit_for_bit(holed: Scene, grid: Grid, resampling: str) -> None:
    scene = Scene(layer((), 2, resampling=resampling), holed.grid, holed.window, holed.bands)
    around = imagery.extent(scene, grid).grown(30)
    big = imagery.read(scene, grid, around)
    assert 0.1 < np.isfinite(big).mean() < 1

    @settings(max_examples=share_of(12), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(windows(around, 300))
    def check(window: Window) -> None:
        part = window.meet(around)
        assert part is not None
        found = imagery.read(scene, grid, window)
        rows, cols = part.within(window)
        wanted_rows, wanted_cols = part.within(around)
        assert found[:, rows, cols].tobytes() == big[:, wanted_rows, wanted_cols].tobytes()
        beyond = np.ones(window.shape, bool)
        beyond[rows, cols] = False
        assert np.isnan(found[:, beyond]).all()

    check()


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.sampled(4)
def test_nearest_takes_the_pixel_under_each_centre_as_proj_sees_it(
    tmp_path: Path, grid: Grid, transform: Affine
) -> None:
    rows, cols = 301, 263
    scene = scene_of(tmp_path, coordinates(rows, cols), transform, resampling="nearest")
    window = imagery.extent(scene, grid).grown(3)
    found = imagery.read(scene, grid, window)
    row, col = np.mgrid[0 : window.height, 0 : window.width] + 0.5
    x, y = grid.transform_of(window) @ (col.ravel(), row.ravel())
    x, y = Transformer.from_crs(grid.crs, "EPSG:32612", always_xy=True).transform(x, y)
    col, row = (each.reshape(window.shape) for each in ~transform @ (np.asarray(x), np.asarray(y)))
    hit = (row >= 0) & (row < rows) & (col >= 0) & (col < cols)
    wanted = np.where(hit, np.stack([np.floor(row) + 1, np.floor(col) + 1]), np.nan)
    # A centre within 1/64 pixel (of the grid or the file, whichever is longer) of a line may go either way.
    near = [max(1, 95 / step if grid.crs == "EPSG:32613" else 1) / 64 for step in (35, 20)]
    clear = (np.abs(row - np.round(row)) > near[0]) & (np.abs(col - np.round(col)) > near[1])
    assert clear.mean() > 0.7
    np.testing.assert_array_equal(found[:, clear], wanted[:, clear])


@pytest.mark.parametrize("resolution", [25.0, 30.0, 45.0])
@pytest.mark.parametrize("resampling", ["bilinear", "cubic"])
@pytest.mark.sampled(2)
def test_squares_equal_one_warp_of_the_whole_file(tmp_path: Path, resampling: str, resolution: float) -> None:
    pixels, grid = smooth(500, 470), Grid.regular("EPSG:32611", resolution)
    scene = scene_of(tmp_path, pixels, resampling=resampling)
    window = imagery.extent(scene, grid)
    wanted = np.full((2, *window.shape), np.nan, np.float32)
    reproject(
        pixels.astype(np.float32), wanted, src_transform=NORTH_UP, src_crs="EPSG:32612", src_nodata=np.nan,
        dst_transform=grid.transform_of(window), dst_crs=grid.crs, dst_nodata=np.nan,
        resampling=Resampling[resampling], XSCALE=min(1, 30 / resolution), YSCALE=min(1, 30 / resolution),
    )  # fmt: skip
    found = imagery.read(scene, grid, window)
    assert (np.isnan(found) != np.isnan(wanted)).mean() < 1e-4  # GDAL's straight lines are longer in `wanted`
    both = np.isfinite(found) & np.isfinite(wanted)
    assert np.abs(found[both] - wanted[both]).max() < 1000 / 64  # the steepest slope is 1,000 for each pixel


def test_bilinear_half_a_pixel_off_is_the_mean_of_four(tmp_path: Path) -> None:
    pixels = smooth(300, 280)
    scene = scene_of(tmp_path, pixels)
    grid = Grid("EPSG:32612", tuple(NORTH_UP @ Affine.translation(0.5, 0.5))[:6])
    found = imagery.read(scene, grid, Window(grid.row0, grid.col0, 299, 279))
    exact = pixels.astype(np.float64)
    wanted = (exact[:, :-1, :-1] + exact[:, 1:, :-1] + exact[:, :-1, 1:] + exact[:, 1:, 1:]) / 4
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_a_much_coarser_grid_gets_the_mean_of_the_valid_pixels(tmp_path: Path) -> None:
    pixels = smooth(320, 240)
    pixels[:, :7, :9] = 0
    scene = scene_of(tmp_path, pixels)
    grid = Grid("EPSG:32612", tuple(NORTH_UP @ Affine.scale(8))[:6])
    found = imagery.read(scene, grid, Window(grid.row0, grid.col0, 40, 30))
    valid = np.where(pixels == 0, np.nan, pixels).reshape(2, 40, 8, 30, 8)
    np.testing.assert_allclose(found, np.nanmean(valid, axis=(2, 4)), rtol=1e-6)


def test_nodata_neither_bleeds_nor_spreads(tmp_path: Path) -> None:
    pixels = np.full((1, 300, 300), 1000, np.uint16)
    pixels[0, 140:150, 140:150] = 0
    for resampling in ("nearest", "bilinear", "cubic"):
        scene = scene_of(tmp_path, pixels, resampling=resampling)
        grid = GRIDS["shifted by a part of a pixel"]
        found = imagery.read(scene, grid, imagery.extent(scene, grid))
        np.testing.assert_allclose(found[np.isfinite(found)], 1000, rtol=1e-6)
        assert 64 <= np.isnan(found[:, 5:-5, 5:-5]).sum() <= 121


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_no_gap_opens_between_squares(tmp_path: Path, grid: Grid) -> None:
    scene = scene_of(tmp_path, np.full((1, 900, 800), 7, np.uint16))
    middle = imagery.extent(scene, grid)
    middle = Window(
        middle.row + middle.height * 3 // 8, middle.col + middle.width * 3 // 8, middle.height // 4, middle.width // 4
    )
    assert (imagery.read(scene, grid, middle) == 7).all()


def test_halved_squares_hold_what_whole_ones_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = scene_of(tmp_path, smooth(400, 350))
    for grid in (Grid.regular("EPSG:32611", 30.0), Grid.regular("EPSG:32611", 300.0)):
        window = imagery.extent(scene, grid)
        whole = imagery.read(scene, grid, window)
        monkeypatch.setattr(warping, "_AT_ONCE", 20_000)
        np.testing.assert_allclose(imagery.read(scene, grid, window), whole, atol=1000 / 64)
        monkeypatch.undo()


def test_a_pixel_over_too_many_source_pixels_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = scene_of(tmp_path, smooth(300, 300))
    monkeypatch.setattr(warping, "_AT_ONCE", 100)
    monkeypatch.setattr(warping, "_LIMIT", 100)
    with pytest.raises(
        RasterError, match=r"one pixel of the grid lies over \d+ pixels of .*a\.tif; choose a finer grid"
    ):
        imagery.read(
            scene, Grid.regular("EPSG:32611", 3000.0), imagery.extent(scene, Grid.regular("EPSG:32611", 3000.0))
        )


@pytest.mark.parametrize("offset", [(0, 0), (-3, -2)])
def test_one_metre_pixels_at_the_crs_origin_are_not_turned_upside_down(tmp_path: Path, offset: tuple[int, int]) -> None:
    """Rasterio's reproject takes (1, 0, 0, 0, -1, 0) for a missing transform."""
    transform = Affine(1, 0, offset[1] + 0.25, 0, -1, -offset[0] - 0.25)
    scene = scene_of(tmp_path, coordinates(20, 20), transform, resampling="nearest")
    grid = Grid.regular("EPSG:32612", 1.0)
    found = imagery.read(scene, grid, Window(0, 0, 10, 10))
    wanted = coordinates(20, 20)[:, -offset[0] : 10 - offset[0], -offset[1] : 10 - offset[1]]
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.sampled(3)
def test_the_extent_holds_every_pixel_and_whatever_has_pixels_is_touched(
    tmp_path: Path, grid: Grid, transform: Affine
) -> None:
    scene = scene_of(tmp_path, coordinates(41, 33), transform, resampling="nearest")
    extent = imagery.extent(scene, grid)
    around = extent.grown(9)
    valid = np.isfinite(imagery.read(scene, grid, around)[0])
    rows, cols = extent.within(around)
    assert valid[rows, cols].sum() == valid.sum() > 0
    inner = valid[rows, cols]
    assert min(inner.any(1).argmax(), inner.any(0).argmax()) <= 1
    for row, col in np.argwhere(valid)[::50]:
        assert imagery.touches(scene, grid, Window(around.row + row, around.col + col, 1, 1))
    assert not imagery.touches(scene, grid, Window(extent.row - 500, extent.col, 100, 100))


def test_a_small_file_in_a_large_window_is_touched(tmp_path: Path) -> None:
    scene = scene_of(tmp_path, coordinates(2, 3))
    grid = Grid.regular("EPSG:32611", 30.0)
    assert imagery.touches(scene, grid, imagery.extent(scene, grid).grown(2000))


def test_an_outline_across_the_antimeridian_is_refused_in_degrees(tmp_path: Path) -> None:
    path = write(tmp_path / "fiji.tif", coordinates(200, 300), Affine(1000, 0, 700000, 0, -1000, 8000000), "EPSG:32760")
    scene = imagery.open(layer(path, 2))
    with pytest.raises(RasterError, match=r"fiji\.tif as a whole cannot be expressed in EPSG:4326.*antimeridian"):
        imagery.extent(scene, Grid.regular("EPSG:4326", 0.01))


def test_coordinates_are_true_to_a_64th_of_a_pixel_where_rows_are_strongly_bent(tmp_path: Path) -> None:
    """A ramp warped bilinearly tells where each pixel was taken from."""
    transform = Affine(0.05, 0, -80, 0, -0.05, 78)
    ramp = coordinates(300, 700).astype(np.float32)
    scene = imagery.open(layer(write(tmp_path / "a.tif", ramp, transform, "EPSG:4326"), 2))
    grid = Grid.regular("EPSG:3413", 1500.0)
    extent = imagery.extent(scene, grid)
    window = Window(extent.row + extent.height // 2, extent.col + extent.width // 3, 300, 300)
    found = imagery.read(scene, grid, window)
    row, col = np.mgrid[0:300, 0:300] + 0.5
    x, y = grid.transform_of(window) @ (col.ravel(), row.ravel())
    x, y = Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True).transform(x, y)
    col, row = (each.reshape(300, 300) for each in ~transform @ (np.asarray(x), np.asarray(y)))
    inner = (row > 1) & (row < 299) & (col > 1) & (col < 699)
    assert inner.mean() > 0.5
    assert np.abs(found[0] - row - 0.5)[inner].max() < 1 / 64
    assert np.abs(found[1] - col - 0.5)[inner].max() < 1 / 64


def test_a_window_that_leaves_the_projection_hides_no_file(tmp_path: Path) -> None:
    scene = scene_of(tmp_path, np.full((1, 60, 60), 7, np.uint16), resampling="nearest")
    grid = Grid("ESRI:54030", (500.0, 0.0, 0.0, 0.0, -500.0, 0.0))  # the world, with corners beyond it
    extent = imagery.extent(scene, grid)
    found = imagery.read(scene, grid, extent)
    assert (found == 7).any()
    west = Window(extent.row - 9000, extent.col - 14000, 9000 + 40, 14000 + 40)
    assert imagery.touches(scene, grid, west)


@pytest.mark.parametrize(
    ("crs", "resolution", "window"),
    [
        ("ESRI:54030", 100_000.0, Window(-95, -180, 190, 360)),
        ("EPSG:32660", 1000.0, Window(-2000, 400, 90, 80)),
        ("EPSG:3413", 50_000.0, Window(-150, -150, 300, 300)),
    ],
)
def test_the_whole_world_is_read_wherever_it_is_defined_and_has_no_extent_where_it_is_not(
    tmp_path: Path, crs: str, resolution: float, window: Window
) -> None:
    path = write(tmp_path / "world.tif", coordinates(180, 360), Affine(1, 0, -180, 0, -1, 90), "EPSG:4326")
    scene = imagery.open(layer(path, 2, resampling="nearest"))
    grid = Grid.regular(crs, resolution)
    found = imagery.read(scene, grid, window)
    row, col = np.mgrid[0 : window.height, 0 : window.width] + 0.5
    x, y = grid.transform_of(window) @ (col.ravel(), row.ravel())
    x, y = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(x, y)
    x, y = (np.where(np.isfinite(each), each, np.nan).reshape(window.shape) for each in (x, y))
    row, col = 90 - y, x + 180
    clear = (np.abs(row - np.round(row)) > 0.1) & (np.abs(col - np.round(col)) > 0.1)
    clear &= np.isfinite(found[0]) & (np.abs(row - 90) < 80)
    assert clear.mean() > 0.3
    np.testing.assert_array_equal(found[:, clear], np.floor(np.stack([row, col]))[:, clear] + 1)
    if crs != "ESRI:54030":
        with pytest.raises(RasterError, match=f"as a whole cannot be expressed in {crs}"):
            imagery.extent(scene, grid)


# ------------------------------------------------------------------------------------ class ids


@dataclass(frozen=True)
class Painted:
    """A raster of class ids in memory, as the warper wants one."""

    ids: np.ndarray
    transform: Affine
    crs: str
    count: int = 1
    void: float = -1

    @property
    def source(self) -> Source:
        """Where it lies."""
        return Source("painted", 0, "", self.crs, tuple(self.transform)[:6], self.ids.shape, None, False, "int32")

    def read(self, window: Window) -> np.ndarray:
        """(1, row, col) int32; a window that leaves the file is an error."""
        assert Window(0, 0, *self.ids.shape).holds(window)
        rows, cols = window.within(Window(0, 0, *self.ids.shape))
        return self.ids[None, rows, cols].astype(np.int32)


def warped(raster: Painted, grid: Grid, window: Window, resampling: str) -> np.ndarray:
    out = np.full(window.shape, -1, np.int32)
    for part, found in warping.parts(raster, grid, window, resampling):
        out[part.within(window)] = found[0]
    return out


def seen_by_proj(raster: Painted, grid: Grid, window: Window) -> tuple[np.ndarray, np.ndarray]:
    """The raster's (row, col), with fractions, under each centre of a window's pixels, point by point."""
    row, col = np.mgrid[0 : window.height, 0 : window.width] + 0.5
    x, y = grid.transform_of(window) @ (col.ravel(), row.ravel())
    x, y = Transformer.from_crs(grid.crs, raster.crs, always_xy=True).transform(x, y)
    col, row = ~raster.transform @ (np.asarray(x), np.asarray(y))
    return row.reshape(window.shape), col.reshape(window.shape)


SYSTEMS = ["EPSG:32611", "EPSG:32612", "EPSG:32613", "EPSG:4326", "EPSG:5070", "EPSG:3857", "EPSG:3413"]


@st.composite
def scenes_on_grids(draw: st.DrawFn) -> tuple[Painted, Grid, Window]:
    """Rasters in which each pixel holds its own position, somewhere in the western United States; grids over them."""
    lon, lat = draw(st.floats(-119, -103)), draw(st.floats(26, 49))

    def pixel(crs: str, metres: float) -> float:
        return metres / 111_000 if crs == "EPSG:4326" else metres

    theirs, ours = draw(st.sampled_from(SYSTEMS)), draw(st.sampled_from(SYSTEMS))
    x, y = Transformer.from_crs("EPSG:4326", theirs, always_xy=True).transform(lon, lat)
    rows, cols = draw(st.integers(3, 230)), draw(st.integers(3, 280))
    side = pixel(theirs, draw(st.floats(8, 120)))
    turn = Affine.rotation(draw(st.sampled_from([0.0, 0.0, 17.0, 180.0])))
    transform = Affine.translation(x, y) @ turn @ Affine.scale(side, -side * draw(st.sampled_from([1.0, 0.7])))
    raster = Painted(np.arange(rows * cols).reshape(rows, cols), transform, theirs)
    grid = Grid.regular(ours, pixel(ours, draw(st.floats(8, 120))))
    middle = transform @ (cols / 2, rows / 2)
    x, y = Transformer.from_crs(theirs, ours, always_xy=True).transform(*middle)
    col, row = ~grid.affine @ (x, y)
    height, width = draw(st.integers(1, 330)), draw(st.integers(1, 330))
    return raster, grid, Window(int(row) - height // 2, int(col) - width // 2, height, width)


@settings(max_examples=share_of(40), deadline=None)
@given(scenes_on_grids())
def test_each_id_is_the_one_under_the_pixels_centre_as_proj_sees_it(scene: tuple[Painted, Grid, Window]) -> None:
    raster, grid, window = scene
    row, col = seen_by_proj(raster, grid, window)
    rows, cols = raster.ids.shape
    hit = (row >= 0) & (row < rows) & (col >= 0) & (col < cols)
    at = np.where(hit, np.floor(row), 0).astype(int), np.where(hit, np.floor(col), 0).astype(int)
    wanted = np.where(hit, raster.ids[at], -1)
    # A centre within 1/64 pixel, of the grid's or the file's, whichever is longer, of a line may go either way.
    down, across = footprints.steps(raster.source, grid, window)
    clear = (np.abs(row - np.round(row)) > max(1, down) / 64) & (np.abs(col - np.round(col)) > max(1, across) / 64)
    found = warped(raster, grid, window, "nearest")
    np.testing.assert_array_equal(found[clear], wanted[clear])
    # Elsewhere it is the pixel on one side of the line or the other.
    valid = found >= 0
    off = np.maximum(
        np.abs(found // cols + 0.5 - row) - 0.5 - max(1, down) / 64,
        np.abs(found % cols + 0.5 - col) - 0.5 - max(1, across) / 64,
    )
    assert not valid.any() or off[valid].max() <= 0


@settings(max_examples=share_of(15), deadline=None)
@given(scenes_on_grids(), st.data())
def test_an_id_does_not_depend_on_the_window_asked_for(
    scene: tuple[Painted, Grid, Window], data: st.DataObject
) -> None:
    raster, grid, around = scene
    resampling = data.draw(st.sampled_from(["auto", "nearest", "mode"]))
    window = data.draw(windows(around, 200)).meet(around)
    assert window is not None
    whole = warped(raster, grid, around, resampling)
    np.testing.assert_array_equal(warped(raster, grid, window, resampling), whole[window.within(around)])


@pytest.mark.parametrize("resampling", ["nearest", "mode"])
def test_ids_of_8_16_and_32_bits_are_warped_alike(resampling: str) -> None:
    """The largest of each type and the first beyond it are ids like any other."""
    pattern = np.random.default_rng(4).random((210, 330)) < 0.5
    grid = Grid.regular("EPSG:32611", 90.0)
    x, y = Transformer.from_crs("EPSG:32612", grid.crs).transform(*(NORTH_UP @ (165, 105)))
    col, row = ~grid.affine @ (x, y)
    pictures = []
    for one, other in ((1, 2), (0, 254), (3, 255), (300, 65534), (65534, 65535), (0, 65535)):
        raster = Painted(np.where(pattern, one, other), NORTH_UP, "EPSG:32612")
        found = warped(raster, grid, Window(int(row) - 50, int(col) - 70, 101, 141), resampling)
        assert set(np.unique(found)) <= {-1, one, other}
        pictures.append(np.select([found == one, found == other], [1, 2], 0))
    for each in pictures[1:]:
        np.testing.assert_array_equal(each, pictures[0])
    assert 0.3 < (pictures[0] == 0).mean() < 0.7


def test_the_mode_is_taken_of_labelled_pixels_only() -> None:
    ids = np.full((90, 120), -1)
    ids[::3, ::3] = np.random.default_rng(1).integers(1, 9, (30, 40))  # one labelled pixel in nine
    grid = Grid("EPSG:32612", tuple(NORTH_UP @ Affine.scale(3))[:6])
    found = warped(Painted(ids, NORTH_UP, "EPSG:32612"), grid, Window(grid.row0, grid.col0, 30, 40), "mode")
    np.testing.assert_array_equal(found, ids[::3, ::3])


@pytest.mark.parametrize(("finer", "taken"), [(1.5, "nearest"), (1.99, "nearest"), (2.0, "mode"), (5.0, "mode")])
def test_auto_takes_the_mode_where_the_file_is_at_least_twice_finer(finer: float, taken: str) -> None:
    ids = np.random.default_rng(6).integers(0, 3, (300, 280))
    grid = Grid("EPSG:32612", tuple(NORTH_UP @ Affine.scale(finer))[:6])
    window = Window(grid.row0, grid.col0, 50, 50)
    raster = Painted(ids, NORTH_UP, "EPSG:32612")
    pictures = {how: warped(raster, grid, window, how) for how in ("auto", "nearest", "mode")}
    assert (pictures["nearest"] != pictures["mode"]).any()
    np.testing.assert_array_equal(pictures["auto"], pictures[taken])


def test_strongly_bent_rows_are_followed() -> None:
    """An interrupted square of 256 pixels near a pole bends by several pixels; halves of it are warped instead."""
    raster = Painted(np.arange(250 * 260).reshape(250, 260), Affine(0.05, 0, -80, 0, -0.02, 82), "EPSG:4326")
    grid = Grid.regular("EPSG:3413", 1500.0)
    x, y = Transformer.from_crs("EPSG:4326", "EPSG:3413", always_xy=True).transform(-74, 79.5)
    col, row = ~grid.affine @ (x, y)
    window = Window(int(row) - 100, int(col) - 100, 200, 200)
    square = next(iter(cut(window, 256)))
    assert warping._bent(raster.source, grid, square)
    row, col = seen_by_proj(raster, grid, window)
    inner = (row > 0) & (row < 250) & (col > 0) & (col < 260)
    down, across = footprints.steps(raster.source, grid, window)
    inner &= (np.abs(row - np.round(row)) > max(1, down) / 32) & (np.abs(col - np.round(col)) > max(1, across) / 32)
    assert inner.mean() > 0.2
    wanted = np.floor(row) * 260 + np.floor(col)
    np.testing.assert_array_equal(warped(raster, grid, window, "nearest")[inner], wanted[inner])


@pytest.mark.slow
def test_ids_of_halved_squares_are_those_of_whole_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    raster = Painted(np.random.default_rng(9).integers(0, 5, (700, 640)), NORTH_UP, "EPSG:32612")
    grid = Grid("EPSG:32612", tuple(NORTH_UP @ Affine.scale(4))[:6])
    window = Window(grid.row0, grid.col0, 175, 160)
    for resampling in ("nearest", "mode"):
        whole = warped(raster, grid, window, resampling)
        monkeypatch.setattr(warping, "_IDS_AT_ONCE", 5_000)
        np.testing.assert_array_equal(warped(raster, grid, window, resampling), whole)
        monkeypatch.undo()
