#!/bin/sh
# For configurations that look for device scripts in share/conman/exec.
# Starts ipmitool_exp.py: the one installed with this file, else the one in PATH.
file=$0
[ ! -L "$file" ] || file=$(readlink -f -- "$file")
command=${file%/*}/../../../bin/ipmitool_exp.py
[ -x "$command" ] || command=ipmitool_exp.py
exec "$command" "$@"
