"""What goes wrong on purpose: a proxy that fails as a bucket does, a run that is stopped at any operation."""
