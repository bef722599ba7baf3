"""Fixtures and the report header shared by all tests."""

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real imagery and reference maps, which are not part of the repository."""
    if not SHARED_DATA.is_dir():
        pytest.skip("real imagery is not here: no shared/data beside the repository")
    return SHARED_DATA
