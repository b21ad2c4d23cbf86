"""Placeholder until written."""

SUMMARY = "verify"


def configure(parser):
    pass


def run(args, output):
    raise NotImplementedError
