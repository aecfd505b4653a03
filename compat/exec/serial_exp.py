#!/bin/sh
# For configurations that look for device scripts in share/conman/exec.
# Starts serial_exp.py: the one installed with this file, else the one in PATH.
file=$0
[ ! -L "$file" ] || file=$(readlink -f -- "$file")
command=${file%/*}/../../../bin/serial_exp.py
[ -x "$command" ] || command=serial_exp.py
exec "$command" "$@"
