"""Speed claims, as commands: each measures us and the peer on the same input in one run; `make bench-NAME`.

Each file here is such a command. `peers` has what ours is measured beside, `inputs` what both are given, `faults` what
goes wrong on purpose, `processes` ours where it runs in a process of its own.
"""
