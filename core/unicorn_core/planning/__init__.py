"""Policies: pure functions of what was observed and of `now`. Each file has a twin test."""
