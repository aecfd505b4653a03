"""``python -m conmand`` is ``conmand-py``."""

from __future__ import annotations

import sys

from conmand.cli import main

sys.exit(main(["conmand-py", *sys.argv[1:]]))
