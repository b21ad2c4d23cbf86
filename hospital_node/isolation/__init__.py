"""Keeping the node closed: Ray, sockets and untrusted processes."""
