"""Which file system a state file is on: SQLite's locks do not hold on network shares, so these are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicomcast.errors import ConfigError
from dicomcast.state import sqlite_file
from dicomcast.state.filesystem import NETWORK, filesystem_of
from dicomcast.state.sqlite import SqliteStore

FEED = "https://archive.test"

MOUNTINFO = """\
21 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
30 21 0:40 / /mnt/files rw - cifs //account.file.core.windows.net/share rw
31 21 0:41 / /mnt/files/block rw - ext4 /dev/sdb1 rw
32 21 0:42 / /mnt/my\\040share rw shared:1 master:2 - nfs4 server:/export rw
33 21 0:43 / /data rw - nfs server:/x rw
34 21 8:2 / /data rw - xfs /dev/sdc1 rw
35 21 0:44 / /home/me/far rw - fuse.sshfs me@far: rw
36 21 0:45 / /var/lib/dicom rw - tmpfs tmpfs rw
garbage
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/", "ext4"),
        ("/var/lib/dicomcast", "ext4"),
        ("/mnt/files", "cifs"),
        ("/mnt/files/a/b", "cifs"),
        ("/mnt/filesystem", "ext4"),
        ("/mnt/files/block", "ext4"),
        ("/mnt/my share/x", "nfs4"),
        ("/data", "xfs"),
        ("/home/me/far/away", "fuse.sshfs"),
    ],
)
def test_the_file_system_of_a_folder(folder: str, kind: str) -> None:
    """The deepest mount counts, the last of two on one place, and names with blanks are octal (proc(5))."""
    assert filesystem_of(Path(folder), MOUNTINFO) == kind


@pytest.mark.parametrize("kind", sorted(NETWORK))
async def test_a_network_share_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """With the reason, before a file is made; a link to a share is one, too."""
    share = tmp_path / "share"
    share.mkdir()
    (tmp_path / "link").symlink_to(share)
    (tmp_path / "state.db").symlink_to(share / "linked.db")
    mounts = tmp_path / "mountinfo"
    mounts.write_bytes(b"1 1 8:1 / /caf\xe9 rw - ext4 /dev/sda rw\n" + f"2 1 0:1 / {share} rw - {kind} x rw\n".encode())
    monkeypatch.setattr(sqlite_file, "MOUNTS", mounts)
    for path in (share / "state.db", tmp_path / "link" / "state.db", tmp_path / "state.db"):
        store = SqliteStore(str(path))
        with pytest.raises(ConfigError, match="local disk") as caught:
            await store.load(FEED)
        await store.close()
        assert f"{path} is on a network share ({kind})" in str(caught.value)
    assert list(share.iterdir()) == []


KINDS = (
    "nfs nfs4 cifs smb3 9p ceph fuse.ceph-fuse fuse.glusterfs lustre gpfs beegfs pvfs2 davfs fuse.davfs2 ncpfs "
    "fuse.s3fs fuse.gcsfuse fuse.blobfuse fuse.blobfuse2 fuse.rclone fuse.mountpoint-s3 fakeowner fuse.grpcfuse vboxsf"
).split()


def test_what_is_a_network_share() -> None:
    """Object stores and what is shared with a host are; the disk of a micro-VM, and what is local, are not."""
    assert [kind for kind in KINDS if kind not in NETWORK] == []
    assert [kind for kind in "ext4 xfs btrfs zfs overlay tmpfs fuseblk virtiofs".split() if kind in NETWORK] == []


async def test_where_nothing_is_known_of_mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other systems have no /proc; memory is on no disk."""
    monkeypatch.setattr(sqlite_file, "MOUNTS", tmp_path / "missing")
    for path in (str(tmp_path / "state.db"), ":memory:"):
        store = SqliteStore(path)
        assert (await store.load(FEED)).cursor is None
        await store.close()
