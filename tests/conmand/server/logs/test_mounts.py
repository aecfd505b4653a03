"""Which file system a path is on, by the table of mount points alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from conmand.server.logs.mounts import mount_of, mount_points

TABLE = rb"""22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw
30 22 0:26 / /nfs rw shared:9 - nfs server:/export rw
31 22 0:27 / /nfs/a\040b\134c rw - tmpfs none rw
not a mount
"""


def test_mount_points_are_read_with_their_blanks(tmp_path: Path) -> None:
    (tmp_path / "mountinfo").write_bytes(TABLE)
    assert mount_points(str(tmp_path / "mountinfo")) == {"/", "/nfs", "/nfs/a b\\c"}


def test_without_a_table_all_is_one() -> None:
    assert mount_points("/nonexistent") == {"/"}


def test_the_machines_own_table_has_the_root_and_proc() -> None:
    assert {"/", "/proc"} <= mount_points()


@pytest.mark.parametrize(
    "path, point",
    [
        ("/var/log/n1.log", "/"),
        ("/nfs", "/nfs"),
        ("/nfs/logs/n1/x.log", "/nfs"),
        ("/nfs/../var/x.log", "/"),
        ("/nfsx/x.log", "/"),
        ("/nfs/a b/x.log", "/nfs/a b"),
        ("", "/"),
        ("relative", "/"),
    ],
)
def test_a_path_is_on_the_nearest_mount_point_above_it(path: str, point: str) -> None:
    assert mount_of(path, {"/", "/nfs", "/nfs/a b"}) == point
