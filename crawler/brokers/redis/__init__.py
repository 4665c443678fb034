"""The broker over Redis, for fleets: the queue outlives every machine, and many collectors feed it."""
