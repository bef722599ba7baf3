"""The fuzzers in short, with fixed seeds; `make fuzz` goes on for ten minutes with others."""

from __future__ import annotations

import pytest
from fuzz.cases import KINDS, Bench, case

from geoseg.storage import store

SHORT, LONG = 6, 240
"""Cases; each kind gets its share."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A job to disturb."""
    return Bench.at(tmp_path_factory.mktemp("fuzz"))


def check(bench: Bench, seed: int) -> None:
    try:
        case(bench, seed)
    except Exception as error:
        raise AssertionError(f"seed {seed}: {'; '.join(bench.said)}") from error


@pytest.mark.parametrize("kind", range(len(KINDS)), ids=[kind.__name__ for kind in KINDS])
@pytest.mark.sampled(3)
def test_whatever_is_disturbed_ends_in_a_sentence_or_the_same_map(bench, monkeypatch, kind):
    monkeypatch.setattr(store, "PATIENCE_S", 0.4)
    for seed in range(kind, SHORT, len(KINDS)):
        check(bench, seed)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", range(len(KINDS)), ids=[kind.__name__ for kind in KINDS])
def test_whatever_is_disturbed_again_and_again_ends_in_a_sentence_or_the_same_map(bench, monkeypatch, kind):
    monkeypatch.setattr(store, "PATIENCE_S", 0.4)
    for seed in range(1000 + kind, 1000 + LONG, len(KINDS)):
        check(bench, seed)
