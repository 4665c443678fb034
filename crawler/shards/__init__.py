"""WebDataset shards: a tar of samples, a table of its rows beside it, and numbers about it."""
