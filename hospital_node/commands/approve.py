"""Placeholder until written."""

SUMMARY = "approve"


def configure(parser):
    pass


def run(args, output):
    raise NotImplementedError
