"""`dicomcast`, and `python -m dicomcast`."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command. Ctrl-C ends it quietly, also while it is still being loaded, which takes a while."""
    try:
        from dicomcast import cli

        cli.main()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
