"""Where the cursor and the parked studies are kept."""

from dicomcast.state.store import StateStore, open_store

__all__ = ["StateStore", "open_store"]
