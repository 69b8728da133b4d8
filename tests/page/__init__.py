"""The status page: what it says, and how a browser takes it."""
