"""Placeholder until written."""

SUMMARY = "keys"


def configure(parser):
    pass


def run(args, output):
    raise NotImplementedError
