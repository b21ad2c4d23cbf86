"""Searching finished bytes for anything real."""
