"""Prepare a segmenter for evaluation in a hospital."""
