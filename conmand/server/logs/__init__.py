"""Console logs: writing one, opening all, what waits when a disk is full, and the old files."""
