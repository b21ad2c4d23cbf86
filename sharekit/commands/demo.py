"""Placeholder until written."""

SUMMARY = "demo"


def configure(parser):
    pass


def run(args, output):
    raise NotImplementedError
