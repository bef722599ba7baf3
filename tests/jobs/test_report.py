"""Report: one page of a finished job, the same bytes each time, looked at in a browser."""

import csv
import io
import json

import numpy as np
import pytest
from browser import browsing
from farm import plan_of
from PIL import Image
from small_jobs import SmallJob, geoseg
from strategies import write

from geoseg.jobs import run as job_run

NAMES = ["<script>alert(1)</script>", "مياه \"' & <b>", "ሰማይ"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> SmallJob:
    """A job of 1500 x 900 pixels with hostile names, scores and a report; one block failed."""
    job = SmallJob.write(tmp_path_factory.mktemp("report") / "job", None, (900, 1500))
    rows, cols = np.mgrid[:900, :1500]
    write(job.folder / "scene.tif", np.stack([rows % 251 + 1, cols % 241 + 1]).astype(np.uint8), nodata=0)
    write(job.folder / "truth.tif", (1 + (rows + cols) // 400 % 3)[None].astype(np.uint8))
    card = job.load("model/card.yaml")
    for each, name in zip(card["classes"], NAMES):
        each["name"] = name
    job.save("model/card.yaml", card)
    ids = [each["id"] for each in card["classes"]]
    classes = [{"id": id, "name": f"kind {id}", "colour": "#808080"} for id in (1, 2, 3)]
    held = job.load("data_catalog.yaml") | {
        "references": {"truth": {"file": "truth.tif", "legend": "kinds"}},
        "legends": {"kinds": {"classes": classes}},
        "crosswalks": {"forth": {"from": "kinds", "to": card["legend_name"], "classes": dict(zip((1, 2, 3), ids))}},
    }
    job.save("data_catalog.yaml", held)
    job.job(reference="truth", outputs={"quicklook": False}, inference={"window": 128, "block": 512})
    plan, refused = plan_of(job), iter([True])

    def once(pixels, tile):
        if next(refused, False):
            raise ValueError("not <b>today</b>")
        return plan.predictor(pixels, tile)

    job_run.run(plan, job.out, predict=once)
    return job


@pytest.mark.slow
def test_the_command_writes_the_bytes_that_the_run_wrote(finished, tmp_path):
    made = (finished.out / "report.html").read_bytes()
    before = (finished.out / "report.html").stat().st_mtime_ns
    assert geoseg("report", finished.out).out.strip() == str(finished.out / "report.html")
    assert (finished.out / "report.html").stat().st_mtime_ns == before
    assert geoseg("report", finished.out, "--out", tmp_path / "page.html").code == 0
    assert (tmp_path / "page.html").read_bytes() == made
    assert len(made) < 5_000_000


@pytest.mark.slow
def test_tables_and_figures_are_written_where_asked(finished, tmp_path):
    answer = geoseg("report", finished.out, "--tables", tmp_path / "t", "--figures", tmp_path / "f")
    assert answer.code == 0
    assert len(list((tmp_path / "t").iterdir())) == 9
    assert len(list((tmp_path / "f").iterdir())) == 12
    pixels = {
        row["class"]: row["map_pixels"]
        for row in csv.DictReader(io.StringIO((tmp_path / "t/accuracy.csv").read_text("utf-8")))
    }
    scores = json.loads((finished.out / "accuracy.json").read_text())
    assert pixels == {name: str(values["map_pixels"]) for name, values in scores["classes"].items()}
    assert set(pixels) == set(NAMES)


def test_a_folder_without_a_finished_job_is_one_sentence(tmp_path):
    assert "no job folder" in geoseg("report", tmp_path).refusal("LedgerError")


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 1280])
def test_people_can_use_the_page_in_a_browser(finished, tmp_path, width):
    viewer = "document.getElementById('viewer').dataset"
    with browsing() as page:
        page.open(finished.out / "report.html", width)
        assert page.run("document.documentElement.scrollWidth") == width
        assert page.run("document.querySelectorAll('script').length") == 2
        assert (
            page.run("[...document.querySelectorAll('main section:nth-of-type(2) bdi')].map(e => e.textContent)")
            == NAMES
        )
        assert page.run("document.querySelectorAll('rect.failed').length") == 1
        assert page.run("[...document.querySelectorAll('img[alt]')].every(e => e.complete && e.naturalWidth)")

        edges = """['imagery', 'map'].map(layer => {
            const view = document.getElementById('viewer').getBoundingClientRect();
            const all = [...document.querySelectorAll(`#${layer} img`)].map(e => e.getBoundingClientRect());
            const pairs = all.flatMap((a, i) => all.slice(i + 1).map(b => [a, b]));
            const apart = ([a, b]) => a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top;
            const width = Math.max(...all.map(e => e.right)) - Math.min(...all.map(e => e.left));
            const height = Math.max(...all.map(e => e.bottom)) - Math.min(...all.map(e => e.top));
            return [width, height, pairs.every(apart), view.width, view.height];
        })"""
        for across, high, apart, width_held, height_held in page.run(edges):
            assert apart
            assert across / high == pytest.approx(1500 / 900, rel=0.02)
            assert min(width_held - across, height_held - high) == pytest.approx(0, abs=4)

        assert float(page.run(f"{viewer}.swipe")) == 0.5
        page.run("document.getElementById('handle').focus()")
        page.press("ArrowRight")
        assert float(page.run(f"{viewer}.swipe")) == pytest.approx(0.55)
        box = page.run(
            "(b => [b.left, b.top, b.width, b.height])(document.getElementById('viewer').getBoundingClientRect())"
        )
        middle = box[1] + box[3] / 2
        page.drag((box[0] + box[2] * 0.55, middle), (box[0] + box[2] * 0.2, middle))
        assert float(page.run(f"{viewer}.swipe")) == pytest.approx(0.2, abs=0.02)

        before, level = float(page.run(f"{viewer}.scale")), int(page.run(f"{viewer}.level"))
        page.run("document.getElementById('viewer').focus()")
        for _ in range(4):
            page.press("+")
        assert float(page.run(f"{viewer}.scale")) == pytest.approx(before * 1.5**4)
        assert 0 == int(page.run(f"{viewer}.level")) <= level
        page.wheel((box[0] + 100, middle), 400)
        assert float(page.run(f"{viewer}.scale")) < before * 1.5**4
        page.press("0")
        assert float(page.run(f"{viewer}.scale")) == pytest.approx(before)

        page.run("document.getElementById('m-rows').click()")
        shown = "[...document.querySelectorAll('table.matrix')].map(e => getComputedStyle(e).display != 'none')"
        assert page.run(shown) == [False, True, False]
        page.ask("Emulation.setEmulatedMedia", media="print")
        assert page.run("getComputedStyle(document.querySelector('.live')).display") == "none"
        assert page.run("getComputedStyle(document.querySelector('.still')).display") == "flex"
        page.ask("Emulation.setEmulatedMedia", media="")

        page.screenshot(tmp_path / "page.png")
        with Image.open(tmp_path / "page.png") as picture:
            assert picture.width == width
        assert page.errors == []
        assert {each.split(":")[0] for each in page.requests} == {"file"}
