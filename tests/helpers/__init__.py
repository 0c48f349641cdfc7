"""Helpers for tests of every room: `from helpers.faces import tiny_private`."""
