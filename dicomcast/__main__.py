"""`dicomcast`, and `python -m dicomcast`."""

from __future__ import annotations

import gc
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command. Ctrl-C ends it quietly, also while it is still being loaded, which takes a while."""
    # Modules and metadata are many small objects without cycles: to look for some took most of the time.
    gc.set_threshold(50_000, 20, 100)
    try:
        from dicomcast import cli

        cli.main()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
