"""Placeholder until written."""

SUMMARY = "train"


def configure(parser):
    pass


def run(args, output):
    raise NotImplementedError
