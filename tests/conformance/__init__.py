"""Clients for public conformance suites, which are run from copies outside the project."""
