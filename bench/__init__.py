"""Speed claims, as commands: each measures us and the peer on the same input in one run; `make bench-NAME`."""
