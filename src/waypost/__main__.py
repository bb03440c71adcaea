"""`python -m waypost` is `waypost`. Knows nothing else."""

import sys

from waypost.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
