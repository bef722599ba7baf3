"""Sheet: made as tasks, sheets are the files that one process makes, whatever happens on the way."""

import json
import shutil
import threading
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from painted_scenes import coordinates, resolved, scene
from small_jobs import contents

from geoseg.catalog.legend import LandClass, Legend
from geoseg.errors import DamagedBlocksError, LedgerError, RasterError
from geoseg.grid import Grid, Window
from geoseg.jobs import run as job_run
from geoseg.jobs import sheet
from geoseg.maps.blocks import BlockFile
from geoseg.maps.sheets import Sheet
from geoseg.storage import store as store_module
from geoseg.storage.digests import sha256
from geoseg.storage.store import Store

OUTPUTS = {"sheet_pixels": 512, "confidence": True}


def painted(pixels, tile):
    """Labels and confidence that tell one pixel from another."""
    labels, sure = (np.nan_to_num(band).astype("uint8") for band in pixels)
    return labels, sure


run = partial(job_run.run, predict=painted)


class Tasks:
    """Sheets as tasks, one after another in this process; `before` and `after` see the key of each."""

    def __init__(self, before=lambda key: None, after=lambda key: None):
        self.keys, self.before, self.after = [], before, after

    def __call__(self, function, items):
        return map(function, items)

    def of(self, noun, lost, stall_s):
        assert noun == "sheet"
        return self.spread

    def spread(self, function, keys):
        for key in keys:
            self.before(key)
            self.keys.append(key)
            yield function(key)
            self.after(key)


def outputs_of(folder):
    kept = ("blocks/", "log/", "job.json", "status.json", "outputs.json", "job.lock")
    return {name: data for name, data in contents(folder).items() if not name.startswith(kept)}


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A job of three sheets of two rasters; what one process makes of it, and its folder with blocks alone."""
    made = tmp_path_factory.mktemp("sheets")
    scene(made, (40, 1100), bands=[coordinates((40, 1100), 0), coordinates((40, 1100), 1)])
    plan = resolved(made, inference={"window": 64, "block": 256}, outputs=OUTPUTS)
    run(plan, made / "whole")
    shutil.copytree(made / "whole", made / "blocks")
    for path in (made / "blocks").iterdir():
        if path.name not in ("blocks", "job.json"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return plan, outputs_of(made / "whole"), made / "blocks"


@pytest.fixture
def begun(job, tmp_path):
    """A folder in which all blocks are made and nothing else."""
    shutil.copytree(job[2], tmp_path / "out")
    return tmp_path / "out"


def test_sheets_made_as_tasks_are_those_of_one_process_and_nothing_else_stays(job, begun):
    plan, wanted, _ = job
    tasks = Tasks()
    run(plan, begun, mapper=tasks)
    assert sum(name.endswith(".tif") for name in wanted) == len(tasks.keys) == len(set(tasks.keys)) == 6
    assert outputs_of(begun) == wanted
    assert not (begun / "sheets").exists()
    run(plan, begun, mapper=tasks)
    assert len(tasks.keys) == 6


GRID, WINDOW = Grid("EPSG:32633", (10.0, 0.0, 5e5, 0.0, -10.0, 5e6)), Window(0, 0, 9, 9)
LEGEND = Legend("own", (LandClass(1, "one", "#000000"), LandClass(2, "two", "#ffffff")))
SAID = {"tags": {"A": "b"}, "band_names": ("land cover",), "scale": 1.0}
BLOCKS = (BlockFile(Window(0, 0, 4, 9), "a.tif", "0" * 64), BlockFile(Window(4, 0, 5, 9), "b.tif", "1" * 64))


def order(digest="d", kind="labels", window=WINDOW, blocks=BLOCKS, grid=GRID, legend=LEGEND, path="p", **said):
    return sheet.order(digest, kind, Sheet(window, path, blocks), grid, legend, SAID | said)


@pytest.mark.parametrize(
    "change",
    [
        {"digest": "e"},
        {"kind": "confidence"},
        {"window": Window(0, 0, 9, 8)},
        {"blocks": BLOCKS[:1]},
        {"blocks": (BLOCKS[0], replace(BLOCKS[1], sha256="2" * 64))},
        {"blocks": (BLOCKS[0], replace(BLOCKS[1], window=Window(5, 0, 5, 9)))},
        {"grid": replace(GRID, crs="EPSG:32634")},
        {"grid": replace(GRID, row0=1)},
        {"legend": None},
        {"legend": replace(LEGEND, classes=(LEGEND.classes[0], LandClass(2, "two", "#fffffe")))},
        {"tags": {"A": "c"}},
        {"band_names": ("confidence",)},
        {"scale": 0.5},
    ],
)
def test_whatever_a_sheet_is_made_from_is_part_of_its_key(change):
    assert order(**change) != order()
    assert order(path="elsewhere") == order()


def test_blocks_damaged_before_a_worker_reads_them_are_made_again_in_the_same_run(job, begun):
    plan, wanted, _ = job
    hurt = sorted((begun / "blocks").glob("*_labels.tif"))[:3]

    def damage(key):
        if not tasks.keys:
            for path in hurt:
                path.write_bytes(path.read_bytes()[:-1] + b"?")

    tasks = Tasks(before=damage)
    summary = run(plan, begun, mapper=tasks)
    assert len(summary.notes) == 1
    assert outputs_of(begun) == wanted
    assert 0 < len(tasks.keys) - 6 <= 3  # those of damaged blocks are tried again, the others kept


def test_blocks_that_are_damaged_each_time_end_the_run_with_the_sentence_of_one_process(job, begun):
    plan, _, _ = job
    hurt = sorted((begun / "blocks").glob("*_labels.tif"))[1:3]

    def damage(*_):
        for path in hurt:
            path.write_bytes(b"?")

    tasks = Tasks(before=damage)
    said = []
    for how in ({"mapper": tasks}, {"progress": lambda now: now.step == "map" and damage()}):
        with pytest.raises(DamagedBlocksError, match=", and 1 more are damaged; run") as told:
            run(plan, begun, **how)
        said.append((str(told.value), told.value.windows))
    assert said[0] == said[1]
    assert not outputs_of(begun).keys() - {name for name in outputs_of(begun) if name.startswith("sheets/")}


@pytest.mark.sampled(8)
@pytest.mark.parametrize("how", ["flipped", "cut", "gone", "link"])
@pytest.mark.parametrize("ending", [".tif", ".tif.aux.xml"])
def test_a_sheet_that_is_not_what_its_worker_wrote_is_made_again(job, begun, monkeypatch, how, ending):
    plan, wanted, _ = job
    monkeypatch.setattr(store_module, "PATIENCE_S", 0.1)

    def damage(key):
        path = begun / "sheets" / (key + ending)
        if tasks.keys.index(key) == 1 and tasks.keys.count(key) == 1:
            data = path.read_bytes()
            path.unlink()
            if how == "link":
                (begun / "blocks" / "other").write_bytes(data)
                path.symlink_to(begun / "blocks" / "other")
            elif how != "gone":
                path.write_bytes(data[:-1] + bytes([data[-1] ^ 1] if how == "flipped" else b""))

    tasks = Tasks(after=damage)
    run(plan, begun, mapper=tasks)
    (begun / "blocks" / "other").unlink(missing_ok=True)
    assert len(tasks.keys) == 7
    assert outputs_of(begun) == wanted


def stopped(plan, folder, after):
    """A run that is stopped when so many sheets were made; their keys."""

    def stop(key):
        if len(tasks.keys) == after:
            raise KeyboardInterrupt

    tasks = Tasks(after=stop)
    with pytest.raises(KeyboardInterrupt):
        run(plan, folder, mapper=tasks)
    return tasks.keys


def test_a_run_that_goes_on_keeps_the_sheets_that_were_made(job, begun):
    plan, wanted, _ = job
    first, tasks = stopped(plan, begun, 3), Tasks()
    run(plan, begun, mapper=tasks)
    assert len(first) == 3
    assert len(tasks.keys) == 3
    assert outputs_of(begun) == wanted
    assert not (begun / "sheets").exists()


@pytest.mark.sampled(15)
@pytest.mark.parametrize("elsewhere", [True, False])
@pytest.mark.parametrize("damage", ["cut", "counts", "hash", "no json", "list", "file", "another block"])
def test_a_sheet_made_earlier_counts_only_while_all_is_as_it_was(job, begun, damage, elsewhere):
    plan, wanted, _ = job
    (key, *_), tasks = stopped(plan, begun, 2), Tasks()
    note = begun / "sheets" / f"{key}.json"
    facts = json.loads(note.read_text())
    if damage == "counts":
        facts["counts"] = {"1": 5}
    elif damage == "hash":
        facts["hashes"][".tif"] = "0" * 64
    text = {"cut": note.read_text()[:-9], "no json": "?", "list": "[]"}.get(damage, json.dumps(facts))
    note.write_text(text)
    if damage == "file":
        path = begun / "sheets" / f"{key}.tif"
        path.write_bytes(path.read_bytes()[:-1])
    if damage == "another block":  # as where a block is made again of a newer version: the order is another
        (begun / "sheets" / f"{key}.order.json").write_text("{}")
        for path in begun.glob("sheets/*.json"):
            path.write_text(path.read_text().replace(key, "f" * 64))
    run(plan, begun, mapper=tasks) if elsewhere else run(plan, begun)
    assert outputs_of(begun) == wanted
    assert not elsewhere or len(tasks.keys) == 5
    assert not (begun / "sheets").exists()


def test_what_a_user_keeps_in_a_folder_of_that_name_stays(job, begun):
    (begun / "sheets").mkdir()
    (begun / "sheets" / "mine.tif").write_bytes(b"mine")
    run(job[0], begun, mapper=Tasks())
    assert [path.name for path in (begun / "sheets").iterdir()] == ["mine.tif"]


def test_a_late_worker_puts_nothing_into_a_folder_that_does_not_ask_for_it(job, begun, monkeypatch):
    plan, wanted, _ = job
    monkeypatch.setattr(store_module, "PATIENCE_S", 0.1)
    (key,), store = stopped(plan, begun, 1), Store.at(begun)
    data = (begun / "sheets" / f"{key}.order.json").read_bytes()
    (begun / "sheets" / f"{key}.tif").unlink()
    make_sheet = sheet.make_sheet

    def forgotten(*what, **how):  # another run takes the folder over while the sheet is made
        counts = make_sheet(*what, **how)
        store.drop(f"sheets/{key}.order.json")
        return counts

    monkeypatch.setattr(sheet, "make_sheet", forgotten)
    for _ in range(2):  # in the middle, and before it began
        with pytest.raises(LedgerError, match=f"asks for no sheet {key[:12]}"):
            sheet.make(store.root, 1, key)
        assert not (begun / "sheets" / f"{key}.tif").exists()
    monkeypatch.undo()
    run(plan, begun)
    monkeypatch.setattr(store_module, "PATIENCE_S", 0.1)
    with pytest.raises(LedgerError, match="asks for no sheet"):
        sheet.make(store.root, 1, key)
    assert outputs_of(begun) == wanted
    store.put(f"sheets/{sha256(data)}.order.json", data + b" ")
    with pytest.raises(LedgerError, match="has changed since it was written"):
        sheet.make(store.root, 1, key)


def test_a_sheet_that_kills_its_workers_is_one_sentence(job, begun):
    class Deadly(Tasks):
        def of(self, noun, lost, stall_s):
            return lambda function, keys: (lost(key, "3 workers in turn") for key in keys)

    with pytest.raises(RasterError, match=r"its workers died \(3 workers in turn\); give workers more memory"):
        run(job[0], begun, mapper=Deadly())
    assert not (begun / "map.vrt").exists()


def test_without_memory_for_a_sheet_the_run_itself_makes_them(job, begun):
    plan = replace(job[0], spec=job[0].spec.model_copy(update={"memory_per_worker": 1_000_000_000}))
    tasks = Tasks()
    assert plan.sheets_at_once == 0
    run(plan, begun, mapper=tasks)
    assert not tasks.keys
    assert outputs_of(begun) == job[1]


def test_no_more_sheets_at_once_than_a_process_has_room_for():
    room, now, most = sheet._Room(), 0, []

    def work():
        nonlocal now
        with room.of(2):
            now += 1
            most.append(now)
            threading.Event().wait(0.01)
            now -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert max(most) == 2
    assert len(most) == 8
