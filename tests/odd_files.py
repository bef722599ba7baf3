"""Things that are no plain files, to be put where geoseg expects one of its own."""

from __future__ import annotations

import os
import stat
from pathlib import Path

KINDS = {"folder": "folder", "pipe": "pipe", "socket": "socket", "zeros": "link", "dangling": "link", "link": "link"}
"""What can be put in place, and what a message calls it."""


def put_in_place(kind: str, path: Path) -> None:
    """Put something of a kind under a path; a 'link' leads to a file 'other' beside it, which holds b'old'."""
    path.parent.mkdir(parents=True, exist_ok=True)
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "socket":
            os.mknod(path, stat.S_IFSOCK | 0o600)
        case "zeros":
            path.symlink_to("/dev/zero")
        case "dangling":
            path.symlink_to("nowhere")
        case "link":
            path.with_name("other").write_bytes(b"old")
            path.symlink_to("other")
