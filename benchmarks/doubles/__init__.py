"""Loopback peers that cost next to nothing: what is measured on them is the client.

They check nothing and forget nothing; the embedded servers of `dicomcast.demo` are strict instead, and slow.
"""
