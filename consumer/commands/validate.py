"""Placeholder until written."""

SUMMARY = "validate"


def configure(parser):
    pass


def run(args, output):
    raise NotImplementedError
