# conmand-py.service under the original's name. A unit of its own and no alias: "systemctl enable conman" refuses aliases.
1s/.*/# conmand-py.service under the name of the original's, so that what controls the one controls the other./
s/^Description=.*/& (conman.service)/
s|^Documentation=.*|&\nConflicts=conmand-py.service|
# The original's name in the process list, for killall, and in syslog.
s|^ExecStartPre=.*|& conman-py-compat.conf|
s|/usr/bin/conmand-py -c|/usr/sbin/conmand -c|
s|^EnvironmentFile=-/etc/default/|EnvironmentFile=-/etc/default/conman\n&|
s|^EnvironmentFile=-/etc/sysconfig/|EnvironmentFile=-/etc/sysconfig/conman\n&|
