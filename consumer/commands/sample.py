"""Placeholder until written."""

SUMMARY = "sample"


def configure(parser):
    pass


def run(args, output):
    raise NotImplementedError
