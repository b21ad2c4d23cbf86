"""Placeholder until written."""

SUMMARY = "export"


def configure(parser):
    pass


def run(args, output):
    raise NotImplementedError
