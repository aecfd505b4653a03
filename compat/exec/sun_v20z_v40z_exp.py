#!/bin/sh
# For configurations that look for device scripts in share/conman/exec.
# Starts sun_v20z_v40z_exp.py: the one installed with this file, else the one in PATH.
file=$0
[ ! -L "$file" ] || file=$(readlink -f -- "$file")
command=${file%/*}/../../../bin/sun_v20z_v40z_exp.py
[ -x "$command" ] || command=sun_v20z_v40z_exp.py
exec "$command" "$@"
