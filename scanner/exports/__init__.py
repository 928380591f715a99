"""Scans, and what changed between two of them, as files."""
