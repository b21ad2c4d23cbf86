"""Placeholder until written."""

SUMMARY = "ingest"


def configure(parser):
    pass


def run(args, output):
    raise NotImplementedError
