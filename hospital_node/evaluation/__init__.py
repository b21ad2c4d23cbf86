"""Evaluation of strangers' segmenters on the node's hold-out."""
