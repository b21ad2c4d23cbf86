"""Preparing a segmenter for a hospital's evaluation."""
