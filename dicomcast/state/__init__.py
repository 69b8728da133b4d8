"""Where the cursor and the parked studies are kept."""

from dicomcast.state.store import StateStore, TableAccess, open_store

__all__ = ["StateStore", "TableAccess", "open_store"]
