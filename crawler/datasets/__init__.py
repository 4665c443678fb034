"""Datasets made of what a job has: which images, in what order, as what files."""
