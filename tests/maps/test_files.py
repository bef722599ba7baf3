"""Files of a map: whole or not there, readable by whom the umask lets."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from painted_maps import GRID, LEGEND, block_of, classes, leftovers, write

from geoseg.errors import CatalogError, RasterError
from geoseg.grid import Window
from geoseg.maps import cog, files, sheets

WINDOW = Window(0, 0, 40, 50)


@pytest.fixture(params=[0o022, 0o027], ids=["022", "027"])
def umask(request: pytest.FixtureRequest):
    old = os.umask(request.param)
    yield request.param
    os.umask(old)


def modes(folder: Path) -> dict[str, int]:
    return {each.name: each.stat().st_mode & 0o777 for each in folder.rglob("*") if each.is_file()}


@pytest.mark.skipif(os.name != "posix", reason="umasks are POSIX")
def test_the_umask_says_who_may_read_a_map(tmp_path: Path, umask: int) -> None:
    block = block_of(write(tmp_path / "block.tif", classes(WINDOW), WINDOW), WINDOW)
    out = tmp_path / "out"
    out.mkdir()
    cog.assemble([block], GRID, WINDOW, LEGEND, out / "map.tif", tags={})
    sheets.assemble_sheets([block], GRID, WINDOW, LEGEND, out / "all.vrt", sheet_pixels=30, tags={})
    found = modes(out)
    assert len(found) == 2 + 2 * 4 + 1
    assert set(found.values()) == {0o666 & ~umask}
    assert (out / "maps").stat().st_mode & 0o777 == 0o777 & ~umask


def test_the_folder_for_unfinished_files_is_empty_and_goes(tmp_path: Path) -> None:
    old = tmp_path / ".new-map.tif"
    old.mkdir()
    (old / "half").write_text("of a killed process")
    with files.folder_beside(tmp_path / "map.tif") as folder:
        assert folder == old
        assert list(folder.iterdir()) == []
    assert leftovers(tmp_path) == []
    with pytest.raises(KeyboardInterrupt), files.folder_beside(tmp_path / "map.tif") as folder:
        raise KeyboardInterrupt
    assert leftovers(tmp_path) == []


def test_trouble_with_writing_is_about_the_map_and_other_trouble_is_left_as_it_is(tmp_path: Path) -> None:
    with (
        pytest.raises(RasterError, match=r"map\.tif cannot be written \(No space left on device\); check its folder"),
        files.writing(tmp_path / "map.tif"),
    ):
        raise OSError(28, "No space left on device")
    with pytest.raises(CatalogError, match=r"^legend$"), files.writing(tmp_path / "map.tif"):
        raise CatalogError("legend")


def test_a_names_file_never_stands_beside_another_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("new", "old"):
        (tmp_path / folder).mkdir()
        for name in ("map.tif", "map.tif.aux.xml"):
            (tmp_path / folder / name).write_text(folder)
    out, seen = tmp_path / "old" / "map.tif", []
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        seen.append({each.name: each.read_text() for each in out.parent.iterdir()})
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    files.publish(tmp_path / "new" / "map.tif", out)
    assert seen == [{"map.tif": "old"}, {"map.tif": "new"}]
    assert {each.name: each.read_text() for each in out.parent.iterdir()} == {
        "map.tif": "new",
        "map.tif.aux.xml": "new",
    }


def test_a_map_without_names_file_takes_the_old_ones_away(tmp_path: Path) -> None:
    (tmp_path / "new.tif").write_text("new")
    (tmp_path / "map.tif.aux.xml").write_text("old names")
    files.publish(tmp_path / "new.tif", tmp_path / "map.tif")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["map.tif"]


def test_what_is_no_map_is_refused_when_opened_and_when_read(tmp_path: Path) -> None:
    (tmp_path / "text.tif").write_text("no raster")
    with pytest.raises(RasterError, match=r"text\.tif cannot be read as a map"), files.opened(tmp_path / "text.tif"):
        pass
    path = write(tmp_path / "map.tif", np.random.default_rng(0).integers(0, 9, (300, 300)).astype(np.uint8), WINDOW)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(RasterError, match=r"map\.tif cannot be read as a map"), files.opened(path) as source:
        source.read(1)
