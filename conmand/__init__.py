"""The console manager daemon, ``conmand-py``: a drop-in for ConMan's ``conmand``."""
