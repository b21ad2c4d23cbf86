"""One module per subcommand, each with `SUMMARY`, `configure(parser)` and `run(args, output)`."""
