"""Whatever lies beside a raster, or in its place, ends in right pixels or in a sentence; nothing is waited for.

Every kind of sidecar that GDAL knows, times every odd thing that may lie there, for everything that opens a raster.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from http_server import Mood, serving
from odd_files import KINDS, put_in_place
from strategies import layer, write

from geoseg import imagery
from geoseg.accuracy import references
from geoseg.accuracy.score import score
from geoseg.catalog import Reference
from geoseg.catalog.legend import LandClass, Legend
from geoseg.errors import RasterError
from geoseg.grid import Grid, Window
from geoseg.imagery import guess
from geoseg.maps import view
from geoseg.process import renew
from geoseg.vectors import polygons

pytestmark = [
    pytest.mark.timeout(60, method="thread"),  # a wait inside GDAL hears no signal
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
]
IDS = np.random.default_rng(2).integers(0, 3, (2, 12, 15), np.uint8)
LEGEND = Legend("few", tuple(LandClass(id, f"class {id}", f"#0000{id:02x}") for id in range(3)))
ADDED = (".msk", ".aux.xml", ".ovr", ".ovr.msk", ".msk.ovr", ".msk.msk", ".msk.aux.xml")
BESIDE = (".tfw", ".TFW", ".tifw", ".wld", ".tab", ".TAB", ".prj", ".aux", ".rrd", ".imd", ".IMD", ".rpb", ".RPB")
NAMED = ("_RPC.TXT", "_rpc.txt", ".RPC", ".xml", ".XML", "_metadata.txt", "_MTL.txt", ".pvl", ".gcp", ".points")
SIDECARS = [f"a.tif{each}" for each in ADDED] + [f"a{each}" for each in (*BESIDE, *NAMED)]


def opened_imagery(path: Path) -> bytes:
    scene = imagery.open(layer(str(path), 2, crs="EPSG:32612"))
    return imagery.read(scene, scene.grid, scene.window).tobytes() + str(scene.grid).encode()


def guessed_imagery(path: Path) -> bytes:
    return str(guess.look([str(path)], ("red", "nir"))).encode()


def opened_reference(path: Path) -> bytes:
    grid = Grid.regular("EPSG:32612", 30.0)
    window = Window(-139_995, 9_995, 30, 30)
    return references.on_grid(Reference("r", str(path), 1, LEGEND, None), grid, window).tobytes()


def evaluated(path: Path) -> bytes:
    truth = write(path.with_name("truth.tif"), IDS[:1])
    found = score(path, Reference("r", truth, 1, LEGEND, None), legend=LEGEND)
    return found.confusion.matrix.tobytes()


def vectorized(path: Path) -> bytes:
    return polygons.trace(path).to_wkb().to_csv().encode()


def legend(path: Path) -> bytes:
    return str(view.legend_of(path)).encode()


ROLES: dict[str, Callable[[Path], bytes]] = {
    "imagery": opened_imagery,
    "guessed imagery": guessed_imagery,
    "reference": opened_reference,
    "map that is scored": evaluated,
    "map that is traced": vectorized,
    "map whose legend is asked for": legend,
}


def vrt(name: str) -> str:
    source = f'<SimpleSource><SourceFilename relativeToVRT="0">{name}</SourceFilename></SimpleSource>'
    items = "".join(f'<MDI key="INTERNAL_MASK_FLAGS_{band}">2</MDI>' for band in (1, 2))
    return (
        f'<VRTDataset rasterXSize="15" rasterYSize="12"><Metadata>{items}</Metadata>'
        f'<VRTRasterBand dataType="Byte" band="1">{source}</VRTRasterBand></VRTDataset>'
    )


def put_huge(path: Path) -> None:
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "sparse_ok": True, "bigtiff": "YES"}
    with rasterio.open(
        path, "w", height=300_000, width=300_000, **profile, tiled=True, blockxsize=4096, blockysize=4096
    ) as out:
        out.update_tags(INTERNAL_MASK_FLAGS_1=2, INTERNAL_MASK_FLAGS_2=2)


def put(thing: str, path: Path, address: str) -> None:
    """Put something odd under a name."""
    secret = path.with_name("secret.tif")
    if thing in KINDS:
        put_in_place(thing, path)
    elif thing == "nothing":
        path.write_bytes(b"")
    elif thing == "huge":
        put_huge(path)
    elif thing == "world of zeros":
        with path.open("wb") as file:
            file.truncate(200_000_000)
    else:
        path.write_text(vrt(f"/vsicurl/{address}/secret.tif" if thing == "vrt of a url" else str(secret)))


THINGS = (*KINDS, "nothing", "huge", "world of zeros", "vrt of a file", "vrt of a url")


@pytest.fixture(scope="module", autouse=True)
def compiled(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The first map that is traced takes seconds."""
    vectorized(one_band(tmp_path_factory.mktemp("first") / "map.tif"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> object:
    with serving(tmp_path_factory.mktemp("served")) as served:
        yield served


def raster(folder: Path, *, bare: bool = False) -> Path:
    folder.mkdir()
    write(folder / "secret.tif", np.zeros((1, 12, 15), np.uint8))
    path = folder / "a.tif"
    if not bare:
        write(path, IDS)
        return path
    with rasterio.open(path, "w", driver="GTiff", count=2, height=12, width=15, dtype="uint8") as out:
        out.write(IDS)
    return path


def one_band(path: Path) -> Path:
    write(path, IDS[:1])
    return path


def tried(role: str, path: Path) -> bytes | None:
    """What is seen of a raster, or None where it is refused in words."""
    renew()
    found, said, begin = None, "", time.monotonic()
    try:
        found = ROLES[role](path)
    except RasterError as error:
        said = str(error)
    else:
        said = ""
    assert time.monotonic() - begin < 5
    assert found is not None or str(path.with_suffix("")) in said
    return found


@pytest.mark.parametrize("thing", THINGS)
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.sampled(9)
def test_what_lies_beside_a_raster_is_refused_or_changes_nothing(
    tmp_path: Path, server: tuple[str, Mood], role: str, thing: str
) -> None:
    address, mood = server
    path = raster(tmp_path / "job")
    if role.startswith("map"):
        one_band(path)
    before, refused = tried(role, path), set()
    assert before is not None
    for name in SIDECARS:
        beside = path.with_name(name)
        put(thing, beside, address)
        after = tried(role, path)
        assert after in (None, before), name
        if after is None:
            refused.add(name)
        beside.rmdir() if beside.is_dir() else beside.unlink()
    assert refused <= {"a.tif.msk", "a.tif.aux.xml"}
    assert mood.asked == []


@pytest.mark.parametrize("thing", THINGS)
def test_what_lies_in_place_of_a_world_file_is_refused(tmp_path: Path, server: tuple[str, Mood], thing: str) -> None:
    """Beside a raster that needs one."""
    address, mood = server
    path = raster(tmp_path / "job", bare=True)
    for name in ("a.tfw", "a.TFW", "a.tifw", "a.wld", "a.WLD"):
        put(thing, path.with_name(name), address)
        with pytest.raises(RasterError, match=r"no georeference|no plain file|no world file|more than 10000 bytes"):
            opened_imagery(path)
        beside = path.with_name(name)
        beside.rmdir() if beside.is_dir() else beside.unlink()
    assert mood.asked == []


@pytest.mark.parametrize("thing", THINGS)
@pytest.mark.parametrize("ending", [".tif", *(pytest.param(each, marks=pytest.mark.slow) for each in (".jp2", ".vrt"))])
@pytest.mark.parametrize("role", ROLES)
def test_what_lies_in_place_of_a_raster_is_refused(
    tmp_path: Path, server: tuple[str, Mood], role: str, thing: str, ending: str
) -> None:
    address, mood = server
    path = raster(tmp_path / "job").with_name(f"b{ending}")
    put(thing, path, address) if thing != "huge" else path.write_bytes(b"II*\0" + b"\xff" * 40)
    assert tried(role, path) is None
    assert mood.asked == []


@pytest.mark.parametrize("kind", ["pipe", "socket", "zeros"])
def test_a_trusted_vrt_does_not_make_gdal_wait_either(tmp_path: Path, kind: str) -> None:
    put_in_place(kind, tmp_path / "odd.tif")
    (tmp_path / "a.vrt").write_text(vrt(str(tmp_path / "odd.tif")))
    with pytest.raises(RasterError, match=r"odd\.tif', a pipe or device; name a file"):
        imagery.open(layer(str(tmp_path / "a.vrt"), trust_vrt=True))


def test_masks_and_world_files_count_for_everything_that_reads_a_raster(tmp_path: Path) -> None:
    """Their pixels by GDAL itself, for imagery, a reference, and a map that is scored and traced."""
    path = raster(tmp_path / "job")
    one_band(path)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as out:
        out.write_mask(np.eye(12, 15) == 0)
    with rasterio.open(path) as file:
        known = file.read_masks(1) != 0
    assert 0 < (~known).sum() < known.size
    ids = np.where(known, IDS[0].astype(int), -1)
    scene = imagery.open(layer(str(path)))
    np.testing.assert_array_equal(imagery.read(scene, scene.grid, scene.window)[0], np.where(known, IDS[0], np.nan))
    found = references.on_grid(Reference("r", str(path), 1, LEGEND, None), scene.grid, scene.window)
    np.testing.assert_array_equal(found, ids)
    truth = write(tmp_path / "truth.tif", IDS[:1])
    scored = score(path, Reference("r", truth, 1, LEGEND, None), legend=LEGEND)
    assert scored.confusion.matrix.diagonal().tolist() == [int((ids == id).sum()) for id in range(3)]
    frame = polygons.trace(path)
    areas = frame.groupby("class_id")["area_m2"].sum() / 900
    assert areas.round(3).to_dict() == pytest.approx({id: int((ids == id).sum()) for id in range(3)}, rel=2e-3)


def test_a_world_file_and_a_crs_make_imagery_of_a_bare_tiff(tmp_path: Path) -> None:
    path = raster(tmp_path / "job", bare=True)
    path.with_suffix(".tfw").write_text("30\n0\n0\n-30\n300030\n4199970\n")
    with rasterio.open(path) as file:
        wanted = file.transform
    scene = imagery.open(layer(str(path), 2, crs="EPSG:32612"))
    assert scene.bands[0][0].transform == tuple(wanted)[:6]
    path.with_name("a.tif.aux.xml").write_text("<PAMDataset><SRS>EPSG:32612</SRS></PAMDataset>")
    assert imagery.open(layer(str(path), 2)).grid == scene.grid
