#!/usr/bin/python3
"""What /usr/sbin/conmand becomes: our daemon under the original's name, options and exit codes unchanged.

Init scripts, unit files and cron jobs call ``conmand``; with this file in its place they start ``conmand-py`` and need
not know. The program keeps the name it was called by in its help and in syslog.
"""

from __future__ import annotations

import sys

from conmand.cli import main

if __name__ == "__main__":
    sys.exit(main())
