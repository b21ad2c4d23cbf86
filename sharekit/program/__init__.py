"""What the three programs share: sub-commands, progress, interruption, passwords."""
