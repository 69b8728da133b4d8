"""Which file system a path is on: SQLite's locks do not hold on network shares."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["NETWORK", "filesystem_of"]

NETWORK = frozenset("nfs nfs4 cifs smb3 smbfs 9p fuse.sshfs ceph glusterfs lustre afs".split())


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
