"""Datasets of each task."""
