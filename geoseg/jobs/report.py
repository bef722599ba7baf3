"""Report: the page of a job that stands in a folder, made again from what the folder holds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from geoseg.errors import LedgerError
from geoseg.jobs import block, outputs, page
from geoseg.jobs.run import finished
from geoseg.storage import job_file, ledger
from geoseg.storage.ledger import Gathered
from geoseg.storage.record import Record
from geoseg.storage.staging import opened
from geoseg.storage.store import Store


def write(
    folder: Path | str, out: Path | None = None, *, tables: Path | None = None, figures: Path | None = None
) -> str:
    """Write the report of a job whose map stands; the same folder gives the same bytes.

    Scores are taken from accuracy.json where the folder has it.

    Parameters
    ----------
    folder : path
        The job folder.
    out : Path, optional
        File to write; default: report.html in the folder.
    tables, figures : Path, optional
        Folders for the tables as CSV, Markdown and LaTeX, and the figures as PNG and SVG; default: none are written.

    Returns
    -------
    str
        Where it is.

    Raises
    ------
    LedgerError
        If the folder holds no finished job, or nothing can be written.
    """
    store = Store.at(folder)
    plan = block.load_plan(store.root, job_file.read_job(store)["digest"])
    names = outputs.files_of(store, "map")
    if not names or not all(map(store.exists, names)):
        raise LedgerError(f"{store.root} has no map yet; run the job to its end, then ask for its report")
    known, _ = ledger.records(store, plan.digest, verify=False)
    kept = finished(plan, known)
    missing = list(plan.blocks(kept))
    records, counts = Gathered(plan.digest, sorted([*kept, *missing])), Counter[int]()
    for window in kept:
        records.put(known[window])
        counts.update(known[window].counts)
    for window in missing:  # of one that took its workers down with it there is no record
        records.put(known.get(window) or Record(window, "failed", plan.digest, error="it could not be made"))
    with opened(store) as staging:
        staging.fetch(names)
        scores = page.scores_in(store.get("accuracy.json")) if store.exists("accuracy.json") else None
        map_path = staging.path(next(name for name in names if name.startswith("map.") and not name.endswith(".xml")))
        told = page.facts(plan, records, counts)
        made = page.made(plan, told, map_path, scores)
    for into, files in page.extras(told, scores, tables=tables, figures=figures):
        for name, data in files.items():
            Store.at(into).put(name, data)
    if out is not None:
        Store.at(out.parent).put(out.name, made)
        return str(out)
    if not store.exists(page.NAME) or store.get(page.NAME) != made:
        store.put(page.NAME, made)
        outputs.stamp_anew(store, "report")
    return store.location(page.NAME)
