"""Commands for jobs by name or folder: what they say of a finished job, and of what is none."""

import json
import re

import pytest
from small_jobs import SmallJob, geoseg


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A job that has run."""
    made = SmallJob.write(tmp_path_factory.mktemp("jobs") / "job")
    assert made.run().code == 0
    return made


@pytest.fixture(autouse=True)
def own_notes(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def test_status_of_a_folder_is_one_row_and_how_fast_it_was(job):
    answer = geoseg("status", job.out)
    assert answer.code == 0
    assert answer.err == ""
    head, row, speed, device, memory = [line for line in answer.out.splitlines() if re.search(r"\w", line)]
    assert re.findall(r"[\w/]+", head) == ["job", "state", "blocks", "failed", "Mpx/s", "left", "folder"]
    assert "finished" in row
    assert "6/6" in row
    assert str(job.out) in row
    assert re.fullmatch(r"[\d.]+ Mpx/s, [\d.,]+ km²/h while blocks were made", speed)
    shares = re.fullmatch(r"device busy (\d+) %, waited for reads (\d+) %, for writes (\d+) %, other (\d+) %", device)
    assert sum(map(int, shares.groups())) == pytest.approx(100, abs=2)
    assert re.fullmatch(r"memory at most [\d.]+ GB a process", memory)


def test_status_of_nothing_submitted_is_an_empty_table():
    answer = geoseg("status")
    assert answer.code == 0
    assert "finished" not in answer.out


def test_watching_a_finished_job_comes_back(job):
    answer = geoseg("status", job.out, "--watch")
    assert answer.code == 0
    assert "finished, 6/6 blocks" in answer.out


def test_logs_are_json_lines_of_which_the_last_can_be_asked_for(job):
    lines = geoseg("logs", job.out).out.splitlines()
    assert all(isinstance(json.loads(line), dict) for line in lines)
    assert geoseg("logs", job.out, "-n", "1").out.splitlines() == lines[-1:]
    assert geoseg("logs", job.out, "--follow").out.splitlines() == lines


def test_a_finished_job_is_not_stopped(job):
    answer = geoseg("cancel", job.out)
    assert answer.code == 0
    assert "is not running: finished" in answer.out
    assert not (job.out / "cancel").exists()


def test_resuming_a_finished_job_labels_nothing_again(job):
    answer = geoseg("resume", job.out, "--workers", "0")
    assert answer.code == 0
    assert "nothing was labelled again" in answer.out


def test_workers_and_a_scheduler_exclude_each_other(job):
    said = geoseg("resume", job.out, "--workers", "1", "--scheduler", "tcp://127.0.0.1:9").refusal("JobError")
    assert "--workers and --scheduler exclude each other" in said


@pytest.mark.parametrize("word", ["status", "logs", "cancel", "resume"])
def test_what_is_no_job_is_refused_by_every_command(tmp_path, word):
    assert "is neither a job folder nor the id of a job" in geoseg(word, tmp_path / "none").refusal("JobError")


@pytest.mark.parametrize(
    "word", ["submit", "status", "logs", "cancel", "resume", "run", "plan", "verify", "train", "demo"]
)
def test_every_command_has_help_in_plain_words(word):
    answer = geoseg(word, "--help")
    assert answer.code == 0
    assert "Usage: geoseg" in answer.out
    assert "Parameters" not in answer.out
