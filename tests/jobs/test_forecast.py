"""Forecast: what was said of a job comes back for that job alone, and a note that is damaged says nothing."""

import os
from types import SimpleNamespace

import platformdirs
import pytest

from geoseg.jobs import forecast
from geoseg.jobs.forecast import Forecast

SAID = Forecast(12.5, 10**9, 2)


@pytest.fixture
def notes(tmp_path, monkeypatch):
    monkeypatch.setattr(platformdirs, "user_state_path", lambda _: tmp_path)
    return tmp_path / "forecasts"


def plan(number):
    return SimpleNamespace(variant=f"{number:064d}"[::-1])


def test_what_was_said_last_comes_back_for_its_job_alone(notes):
    forecast.remember(plan(1), Forecast(1.0, 1, 1))
    forecast.remember(plan(1), SAID)
    assert forecast.recalled(plan(1)) == SAID
    assert forecast.recalled(plan(2)) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", "\0", '{"seconds": "x", "memory": 1, "workers": 1}', "[" * 10**5])
def test_a_damaged_note_says_nothing(notes, text):
    forecast.remember(plan(1), SAID)
    (note,) = notes.iterdir()
    note.write_text(text)
    assert forecast.recalled(plan(1)) is None


def test_only_the_latest_notes_are_kept(notes, monkeypatch):
    monkeypatch.setattr(forecast, "_NOTES", 3)
    for number in range(6):
        forecast.remember(plan(number), SAID)
        for at, note in enumerate(sorted(notes.iterdir(), key=lambda each: each.stat().st_mtime)):
            os.utime(note, (1e9 + at, 1e9 + at))
    assert [number for number in range(6) if forecast.recalled(plan(number))] == [3, 4, 5]


def test_an_account_that_cannot_be_written_to_is_no_error(notes):
    notes.write_text("a file in the way")
    forecast.remember(plan(1), SAID)
    assert forecast.recalled(plan(1)) is None
