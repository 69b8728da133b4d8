"""Embedded servers for `dicomcast demo` and for the tests: real HTTP on loopback, in memory, and strict.

Nothing in here imports the rest of dicomcast: a double that shares code with what it tests proves nothing.
"""
