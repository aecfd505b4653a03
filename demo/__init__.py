"""A site to try the daemon on: pretend Linux nodes behind a small telnet terminal server, all on this machine."""
