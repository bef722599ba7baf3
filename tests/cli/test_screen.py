"""Screen: each kind of end has its exit status and its one sentence, and nothing that a name holds becomes markup."""

import os
import re
import signal
import sys
from types import SimpleNamespace

import pytest
import typer
from small_jobs import SmallJob

from geoseg.cli import screen
from geoseg.errors import CancelledError, ClusterError, GeosegError, JobError, LedgerError, RasterError
from geoseg.grid import Window
from geoseg.jobs.performance import Performance

ODD = "scene [red]x[/red] [/b] \u12a0\u121b :smile: {0} %s"


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(sys, "argv", ["geoseg", "run", "my job.yaml"])
    monkeypatch.setattr(screen.out, "width", 1000)
    monkeypatch.setattr(screen.err, "width", 1000)
    yield
    signal.signal(signal.SIGTERM, before)


def ends_with(error):
    """The exit status of a command that raises."""

    @screen.refusing
    def command():
        raise error

    with pytest.raises(typer.Exit) as caught:
        command()
    return caught.value.exit_code


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (JobError(ODD), 2, f"JobError: {ODD}\n"),
        (RasterError("no file"), 2, "RasterError: no file\n"),
        (LedgerError("no room"), 2, "LedgerError: no room\n"),
        (type("_OfOurs", (LedgerError,), {})("private"), 2, "LedgerError: private\n"),
        (ClusterError("lost"), 75, "ClusterError: lost\ngo on with: geoseg run 'my job.yaml'\n"),
        (CancelledError("asked"), 130, "CancelledError: asked\ngo on with: geoseg run 'my job.yaml'\n"),
        (KeyboardInterrupt(), 130, "\nstopped; what was finished is kept. Go on with: geoseg run 'my job.yaml'\n"),
    ],
)
def test_each_error_has_its_exit_status_and_sentence(capsys, error, status, said):
    assert ends_with(error) == status
    assert capsys.readouterr() == ("", said)


def test_every_kind_of_refusal_has_an_exit_status_of_its_own_kind():
    for kind in GeosegError.__subclasses__():
        assert ends_with(kind("x")) in (screen.BAD_INPUT, screen.CLUSTER_LOST, screen.INTERRUPTED)


def test_what_nobody_foresaw_is_one_line_and_its_traceback_is_kept(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert ends_with(ZeroDivisionError(f"{ODD}\nsecond line")) == 70
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"unexpected ZeroDivisionError: {ODD} second line; please report it" in said
    kept = next(tmp_path.rglob("errors.log"))
    assert str(kept) in said
    assert "Traceback" in kept.read_text("utf-8")
    assert ends_with(MemoryError()) == 70
    assert "no memory is left" in capsys.readouterr().err


def test_a_command_that_ends_by_itself_is_left_alone():
    assert ends_with(typer.Exit(7)) == 7
    assert screen.refusing(lambda one, *, two: (one, two))(1, two=2) == (1, 2)


def test_a_request_to_end_counts_as_stopped(capsys):
    @screen.refusing
    def command():
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("goes on")

    with pytest.raises(typer.Exit) as caught:
        command()
    assert caught.value.exit_code == 130


def test_a_bar_shows_what_a_run_says(capsys):
    facts = {"total": 9, "reused": 2, "finished": 3, "failed": 1, "pixels": 10, "rate": 1.25, "step": "blocks"}
    with screen.drawn() as show:
        show(SimpleNamespace(**facts))
        show(SimpleNamespace(**{**facts, "failed": 0, "pixels": 0}))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("failed", [0, 7])
def test_a_report_lists_outputs_and_at_most_five_failures(capsys, failed):
    records = [SimpleNamespace(window=Window(at, 2, 1, 1), error=f"{ODD} {at}") for at in range(failed)]
    now = SimpleNamespace(total=9, reused=2, finished=7, failed=failed, pixels=5, seconds=1.5, rate=2.0)
    told = {"notes": ("mind this",), "outputs": ("map.tif", "a.csv"), "kept": ("a.csv",), "failed": records}
    took = Performance(5_000_000, 100.0, 2.0, 3.0, {"busy": 3.0, "read": 1.0}, 10**9)
    made = SimpleNamespace(progress=now, folder="out", performance=took, **told)
    if failed:
        with pytest.raises(typer.Exit) as caught:
            screen.report(made)
        assert caught.value.exit_code == 3
    else:
        screen.report(made)
    out, err = capsys.readouterr()
    assert out == (
        "9 blocks, 2 of them finished before in 1.5 s\n"
        "2.5 Mpx/s, 900,000 km²/h while blocks were made\n"
        "device busy 75 %, waited for reads 25 %, for writes 0 %, other 0 %\n"
        "memory at most 1 GB a process\n"
        "  out/map.tif\n  out/a.csv (kept)\n"
    )
    assert err.startswith("note: mind this\n")
    assert err.count("  row ") == min(failed, 5)
    assert (f"  row 0, column 2: {ODD} 0\n" in err) == bool(failed)


def test_findings_end_with_1_where_pixels_differ(capsys):
    same = SimpleNamespace(way="alone", differing=0, window=Window(0, 0, 4, 5), first=None)
    other = SimpleNamespace(way="threads", differing=3, window=Window(0, 0, 4, 5), first=(1, 2))
    screen.findings([same, same])
    assert capsys.readouterr().out == "alone: 2 blocks, 40 pixels, identical\n"
    with pytest.raises(typer.Exit) as caught:
        screen.findings([same, other])
    assert caught.value.exit_code == 1
    out, err = capsys.readouterr()
    assert re.search(r"threads: 1 block, 20 pixels, .*3 pixels", out)
    assert re.fullmatch(r"  threads: .*3 pixels.*, the first at row, column \(1, 2\)\n", err)


def test_a_finished_run_says_that_nothing_was_labelled_again(tmp_path):
    job = SmallJob.write(tmp_path / "job")
    assert job.run().code == 0
    again = job.run()
    assert again.code == 0
    assert "resumed: every block was finished already, nothing was labelled again" in again.out
