"""Telling people: the file that says whom and how, and the ways that a letter goes out."""
