"""What a pilot checks before it begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from p3s.errors import BadInput
from p3s.pilot.main import is_contained, make_register_body, run_pilot
from p3s.pilot.options import check_options
from tests.support.agents import make_options

if TYPE_CHECKING:
    from pathlib import Path


def test_options(tmp_path: Path) -> None:
    """All that is wrong with the options is told at once."""
    with pytest.raises(BadInput) as caught:
        check_options(make_options(tmp_path, slots=0, period=0.0, lifetime=-1.0))
    assert [problem.where for problem in caught.value.problems] == ["slots", "period", "lifetime"]


def test_usage_exit_code(tmp_path: Path) -> None:
    """Options that no pilot can run with are exit code 64."""
    assert run_pilot(make_options(tmp_path, slots=0)) == 64


def test_log_folder(tmp_path: Path) -> None:
    """A log folder that cannot be used is exit code 255."""
    (tmp_path / "file").write_text("")
    assert run_pilot(make_options(tmp_path, logs=tmp_path / "file" / "log")) == 255


@pytest.mark.parametrize(
    ("path", "content"),
    [
        (".dockerenv", ""),
        ("run/.containerenv", ""),
        ("proc/1/environ", "A=b\0container=podman\0"),
        ("proc/1/cgroup", "0::/kubepods/besteffort/pod1"),
    ],
)
def test_container(tmp_path: Path, path: str, content: str) -> None:
    """A container is recognised by the traces that its engine leaves."""
    assert not is_contained(tmp_path)
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text(content)
    assert is_contained(tmp_path)


def test_register_body(tmp_path: Path) -> None:
    """A pilot tells what it offers, also which URLs it can stage; its cpus are never fewer than its slots."""
    body = make_register_body(make_options(tmp_path, slots=500, labels=("gpu",), users=("ann",)))
    assert body.cpus >= 500
    assert (body.labels, body.accepts.users) == (["gpu", "s3://", "root://"], ["ann"])
