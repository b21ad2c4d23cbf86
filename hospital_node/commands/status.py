"""Placeholder until written."""

SUMMARY = "status"


def configure(parser):
    pass


def run(args, output):
    raise NotImplementedError
