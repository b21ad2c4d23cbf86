"""Placeholder until written."""

SUMMARY = "style"


def configure(parser):
    pass


def run(args, output):
    raise NotImplementedError
