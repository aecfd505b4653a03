#!/bin/sh
# For configurations that look for device scripts in share/conman/exec.
# Starts hp_lo100_exp.py: the one installed with this file, else the one in PATH.
file=$0
[ ! -L "$file" ] || file=$(readlink -f -- "$file")
command=${file%/*}/../../../bin/hp_lo100_exp.py
[ -x "$command" ] || command=hp_lo100_exp.py
exec "$command" "$@"
