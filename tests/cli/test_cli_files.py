"""As many open files as the system lets a relay have."""

from __future__ import annotations

import resource
import subprocess
import sys

TOLD = """
import resource
from waypost.cli.relay.serve import many_files
many_files()
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def test_a_relay_opens_as_many_files_as_it_may() -> None:
    """Shells begin at 1,024: fewer than the sessions that are allowed."""

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 1500))

    done = subprocess.run(
        [sys.executable, "-c", TOLD], capture_output=True, text=True, check=True, preexec_fn=few
    )
    assert done.stdout == "1500\n"
