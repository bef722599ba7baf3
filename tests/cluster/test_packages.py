"""Packages that are not installed are named, with what installs them."""

from __future__ import annotations

import json
import sys

import pytest

from geoseg.cluster import packages
from geoseg.errors import ClusterError


@pytest.mark.parametrize("package", packages.INSTALL)
def test_missing_package_names_what_to_install(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ClusterError, match=rf"^{package} is needed .*; pip install ") as caught:
        packages.needed(f"{package}.part")
    assert packages.INSTALL[package] in str(caught.value)


def test_what_is_installed_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "coiled", json)
    assert packages.needed("coiled") is json
