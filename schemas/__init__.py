"""Versioned JSON Schemas (draft 2020-12) of every file that leaves a node."""
