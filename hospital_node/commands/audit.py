"""Placeholder until written."""

SUMMARY = "audit"


def configure(parser):
    pass


def run(args, output):
    raise NotImplementedError
