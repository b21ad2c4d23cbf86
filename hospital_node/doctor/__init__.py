"""Will training work here? Pure checks of what was found, and a thin layer that finds it."""
