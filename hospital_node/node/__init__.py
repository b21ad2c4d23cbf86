"""A node's folder and what lies in it."""
