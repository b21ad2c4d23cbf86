"""Runs public commands as steps, each once, on this machine or a cluster."""
