"""The files that somebody starts from: they load, and name nothing that does not exist."""
