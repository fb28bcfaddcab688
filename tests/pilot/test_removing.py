"""Deleting files of deleted datasets: never outside of the attempt's folder, never through a link."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from p3s.pilot.removing import remove_output, remove_published

if TYPE_CHECKING:
    from pathlib import Path

FENCE = f"{uuid.uuid4()}/make/{uuid.uuid4()}"


def write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    return path


def test_the_file_goes_and_empty_folders_with_it(tmp_path):
    """The last file of a workflow takes its folders along; others' files keep theirs; a repeat does no harm."""
    first, second = (write(tmp_path / FENCE / name) for name in ("deep/a.txt", "b.txt"))
    for _ in range(2):
        remove_output(tmp_path, str(first), FENCE)
    assert second.exists()
    assert not first.parent.exists()
    (tmp_path / FENCE / "deep").mkdir()
    remove_output(tmp_path, str(first), FENCE)
    remove_output(tmp_path, str(second), FENCE)
    assert list(tmp_path.iterdir()) == []


def test_nothing_else_is_touched(tmp_path):
    """A place outside of the attempt's folder, a folder, and a way that leads over a link are refused."""
    outside = write(tmp_path / "other" / "a.txt")
    data = tmp_path / "data"
    (data / FENCE / "folder").mkdir(parents=True)
    (data / FENCE / "link").symlink_to(outside.parent)
    (data / FENCE / "name").symlink_to(outside)
    for place in (outside, data / FENCE / ".." / "a.txt", data / "a.txt", data / FENCE / "link" / "a.txt"):
        with pytest.raises(OSError, match=r"does not lie in|is a link"):
            remove_output(data, str(place), FENCE)
    for place in ("folder", "name"):
        with pytest.raises(OSError, match="is no regular file"):
            remove_output(data, f"{data}/{FENCE}/{place}", FENCE)
    with pytest.raises(OSError, match="is no regular file"):
        remove_published(data / FENCE / "name")
    assert outside.exists()
    for _ in range(2):
        remove_published(outside)
    assert not outside.exists()
