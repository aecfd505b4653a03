"""Hours of mixed work for one daemon, and a check of every byte at the end: ``make soak``, ``python -m tests.soak``."""
