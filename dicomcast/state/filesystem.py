"""Which file system a path is on: SQLite's locks do not hold on network shares."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["NETWORK", "filesystem_of"]

# What a kernel, or the FUSE program behind a mount, calls itself in the third last field of mountinfo. Object stores
# have no locks at all. 9p (a Windows drive in WSL 2), fakeowner, fuse.grpcfuse and fuse.osxfs (bind mounts of Docker
# Desktop) and the shared folders of hypervisors are a disk of the host: its processes do not see a guest's locks, and
# several guests may share it; a named volume is on the guest's own disk. virtiofs may be the same, but it is also
# the only disk that a micro-VM has (Kata Containers), where nobody else is at it: it is let through.
NETWORK = frozenset(
    """
    nfs nfs4 cifs smb3 smbfs ncpfs afs coda davfs ceph lustre glusterfs gpfs beegfs orangefs pvfs2 panfs wekafs
    9p fakeowner vboxsf vmhgfs prl_fs fuse.vmhgfs-fuse fuse.osxfs fuse.grpcfuse
    fuse.sshfs fuse.smbnetfs fuse.curlftpfs fuse.davfs fuse.davfs2 fuse.rclone fuse.ceph fuse.ceph-fuse fuse.glusterfs
    fuse.juicefs fuse.mfs fuse.seaweedfs fuse.s3fs fuse.goofys fuse.mountpoint-s3 fuse.gcsfuse
    fuse.blobfuse fuse.blobfuse2
    """.split()
)


def filesystem_of(path: Path, mountinfo: str) -> str:
    """The type of the file system that holds an absolute path, by /proc/self/mountinfo (proc(5)); "" if unknown."""
    found, depth = "", -1
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(), after.split()
        if len(fields) < 5 or not kinds:
            continue
        mount = Path(re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), fields[4]))
        # A later mount on the same place hides the earlier one.
        if path.is_relative_to(mount) and len(mount.parts) >= depth:
            found, depth = kinds[0], len(mount.parts)
    return found
