"""`wit train`, `wit eval` and `wit export`: the trainer behind the command line and on Ray."""
