"""Placeholder until written."""

SUMMARY = "policy"


def configure(parser):
    pass


def run(args, output):
    raise NotImplementedError
