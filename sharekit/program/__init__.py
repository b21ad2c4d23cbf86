"""The common parts of the three programs: sub-commands, progress, interruption, passwords."""
