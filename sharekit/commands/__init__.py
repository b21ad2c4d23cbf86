"""One module per sub-command: `SUMMARY`, `configure(parser)`, `run(args, output)`."""
