"""``make bench``: ConMan's daemon and ours under the same load in the same run. What is measured is in ``measure``."""
