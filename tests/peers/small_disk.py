"""A file system of its own for a data directory, which a test can fill."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from peers.need import missing

SIZE_MIB, FILLER_MIB = 600, 590  # what is left is less than a twentieth


@contextlib.contextmanager
def small_disk(need: Callable[..., list[str]], folder: Path) -> Iterator[Path]:
    """Mounts it there; gives the name of the file to `fill`. Skips where nobody may mount."""
    mount, umount = need("root", "mount", "umount")[1:]
    folder.mkdir(parents=True, mode=0o700)
    mounted = subprocess.run(
        [mount, "-t", "tmpfs", "-o", f"size={SIZE_MIB}m,mode=0700", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        missing("the right to mount a file system")
    try:
        yield folder / "filler"
    finally:
        subprocess.run([umount, "-l", str(folder)], check=False)


def fill(filler: Path) -> None:
    """Hardly anything is left; unlinking it makes room again."""
    with filler.open("wb") as out:
        os.posix_fallocate(out.fileno(), 0, FILLER_MIB << 20)
