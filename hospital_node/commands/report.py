"""Placeholder until written."""

SUMMARY = "report"


def configure(parser):
    pass


def run(args, output):
    raise NotImplementedError
