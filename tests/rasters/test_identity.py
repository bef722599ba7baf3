"""Identity: a change of any file that is read is seen; judged by GDAL's own list of a dataset's files."""

from __future__ import annotations

import os
import shutil
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from http_server import serving
from strategies import coordinates, write

from geoseg.errors import RasterError
from geoseg.rasters import identity

NAMES = ["a.tif.msk", "a.tif.aux.xml", "a.tfw", "a.TFW", "a.tifw", "a.wld", "a.WLD"]


def touch(path: Path) -> None:
    """Change the time of the last change alone."""
    facts = path.stat()
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1_000_000))


def vrt(path: Path, *names: str) -> Path:
    sources = "".join(f'<SourceFilename relativeToVRT="1">{name}</SourceFilename>' for name in names)
    band = f"<VRTRasterBand><SimpleSource>{sources}</SimpleSource></VRTRasterBand>"
    path.write_text(f'<VRTDataset rasterXSize="4" rasterYSize="3">{band}</VRTDataset>')
    return path


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return Path(write(tmp_path / "a.tif", coordinates(3, 4)))


def test_what_nobody_touches_stays_what_it_is(scene: Path) -> None:
    before = identity.stamp(str(scene))
    assert before[0] == scene.stat().st_size
    scene.read_bytes()
    write(scene.with_name("b.tif"), coordinates(3, 4))
    assert identity.stamp(str(scene)) == before


def test_the_same_size_at_another_time_is_another_file(scene: Path) -> None:
    before = identity.stamp(str(scene))
    touch(scene)
    after = identity.stamp(str(scene))
    assert after[0] == before[0]
    assert after[1] != before[1]


@pytest.mark.parametrize("name", NAMES)
def test_a_sidecar_that_comes_changes_or_goes_is_a_change(scene: Path, name: str) -> None:
    beside = scene.with_name(name)
    words = [identity.of(str(scene))]
    beside.write_text("1")
    words.append(identity.of(str(scene)))
    touch(beside)
    words.append(identity.of(str(scene)))
    assert len(set(words)) == 3
    beside.unlink()
    assert identity.of(str(scene)) == words[0]


def test_every_file_that_gdal_lists_is_watched_but_for_those_that_are_never_read(tmp_path: Path, scene: Path) -> None:
    """Overviews, a mask and statistics of GDAL's own making, and a VRT over the file, of which no mask is read."""
    with rasterio.Env(TIFF_USE_OVR=True), rasterio.open(scene, "r+") as file:
        file.build_overviews([2])
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(scene, "r+") as file:
        file.write_mask(np.full((3, 4), 255, np.uint8))
    scene.with_name("a.tif.aux.xml").write_text("<PAMDataset/>")
    mosaic = vrt(tmp_path / "m.vrt", "a.tif")
    with rasterio.open(scene) as file:
        listed = {Path(each) for each in file.files}
    assert {each.name for each in listed} == {"a.tif", "a.tif.ovr", "a.tif.msk", "a.tif.aux.xml"}
    for root, read in ((scene, ("a.tif", "a.tif.msk", "a.tif.aux.xml")), (mosaic, ("a.tif",))):
        for each in sorted(listed):
            before = identity.of(str(root))
            touch(each)
            assert (identity.of(str(root)) != before) == (each.name in read)


def test_files_brought_back_from_a_copy_that_kept_their_times_are_the_same(tmp_path: Path) -> None:
    scene = Path(write(tmp_path / "data/a.tif", coordinates(3, 4)))
    top = vrt(scene.with_name("top.vrt"), "one.vrt")
    vrt(scene.with_name("one.vrt"), "a.tif")
    scene.with_name("a.tfw").write_text("30\n0\n0\n-30\n9\n9\n")
    before = identity.of(str(scene)), identity.of(str(top))
    shutil.copytree(scene.parent, tmp_path / "copy")
    shutil.rmtree(scene.parent)
    shutil.copytree(tmp_path / "copy", scene.parent)
    assert (identity.of(str(scene)), identity.of(str(top))) == before
    for each in scene.parent.iterdir():
        touch(each)
    assert {identity.of(str(scene)), identity.of(str(top))}.isdisjoint(before)


def test_a_world_file_that_gdal_would_read_for_a_raster_without_coordinates_is_watched(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        bare = tmp_path / "b.tif"
        with rasterio.open(bare, "w", driver="GTiff", count=1, height=3, width=4, dtype="uint8") as file:
            file.write(np.ones((1, 3, 4), np.uint8))
        bare.with_name("b.tfw").write_text("30\n0\n0\n-30\n300015\n4199985\n")
        with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="FALSE"), rasterio.open(bare) as file:
            assert file.transform.a == 30
            assert bare.with_name("b.tfw") in map(Path, file.files)
    before = identity.of(str(bare))
    touch(bare.with_name("b.tfw"))
    assert identity.of(str(bare)) != before


def test_a_change_at_the_bottom_of_vrts_within_vrts_is_seen(tmp_path: Path, scene: Path) -> None:
    (tmp_path / "deep").mkdir()
    vrt(tmp_path / "deep/one.vrt", "../a.tif")
    vrt(tmp_path / "two.vrt", "deep/one.vrt")
    top = vrt(tmp_path / "top.vrt", "two.vrt")
    seen = {identity.of(str(top))}
    for each in (scene, tmp_path / "deep/one.vrt", tmp_path / "two.vrt", top):
        touch(each)
        seen.add(identity.of(str(top)))
    assert len(seen) == 5
    vrt(tmp_path / "deep/one.vrt", "b.tif")
    changed = identity.of(str(top))
    write(tmp_path / "deep/b.tif", coordinates(3, 4))
    assert identity.of(str(top)) not in {changed, *seen}


def test_vrts_that_name_each_other_are_walked_once(tmp_path: Path) -> None:
    """Nine files that each name all nine by seven paths would be 63 to the eighth power."""
    for number in range(7):
        (tmp_path / f"d{number}").mkdir()
    names = [f"{number}.vrt" for number in range(9)]
    for name in names:
        vrt(tmp_path / name, *(f"d{number}/../{each}" for number in range(7) for each in names))
    begin = time.process_time()
    before = identity.of(str(tmp_path / "0.vrt"))
    assert time.process_time() - begin < 2
    touch(tmp_path / "8.vrt")
    assert identity.of(str(tmp_path / "0.vrt")) != before


@pytest.mark.parametrize("text", ["", "no xml", "<VRTDataset>", "<!DOCTYPE a [<!ENTITY b SYSTEM 'a.tif'>]><a>&b;</a>"])
def test_a_vrt_that_cannot_be_read_is_known_by_its_own_size_and_time(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.vrt").write_text(text)
    before = identity.of(str(tmp_path / "a.vrt"))
    touch(tmp_path / "a.vrt")
    assert identity.of(str(tmp_path / "a.vrt")) != before


@pytest.mark.timeout(20)
def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.vrt")
    identity.stamp(str(tmp_path / "pipe.vrt"))
    identity.stamp(str(vrt(tmp_path / "a.vrt", "pipe.vrt")))


@pytest.mark.parametrize("name", ["gone.tif", "folder/gone.tif"])
def test_what_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(RasterError, match=r"gone\.tif does not exist or cannot be reached; check the path in data_cat"):
        identity.stamp(str(tmp_path / name))


def test_of_a_file_whose_server_says_nothing_no_change_is_seen(scene: Path) -> None:
    with serving(scene.parent) as (address, _):
        assert identity.stamp(f"{address}/gone.tif") == (0, "")
    assert identity.stamp(f"{address}/a.tif") == (0, "")  # the server is gone
    assert identity.stamp("gs://bucket/a.tif") == identity.stamp("/vsizip/a.zip/a.tif") == (0, "")


def test_files_that_another_process_sees_otherwise_are_refused(scene):
    known = {str(scene): identity.stamp(str(scene))}
    identity.check_same(known)
    touch(scene)
    with pytest.raises(RasterError, match=r"a\.tif, or a file beside it, is not the one that the command began with"):
        identity.check_same(known)
    scene.unlink()
    with pytest.raises(RasterError, match=r"a\.tif does not exist there"):
        identity.check_same(known)
