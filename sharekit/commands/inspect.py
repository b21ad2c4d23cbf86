"""Placeholder until written."""

SUMMARY = "inspect"


def configure(parser):
    pass


def run(args, output):
    raise NotImplementedError
