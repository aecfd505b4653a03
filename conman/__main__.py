"""``python -m conman`` is ``conman-py``."""

from __future__ import annotations

import sys

from conman.cli import main

sys.exit(main())
