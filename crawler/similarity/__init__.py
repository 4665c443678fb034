"""Images that look alike though their bytes differ: a hash of what is seen, and groups over all that a job has."""
