"""Where tasks run: child processes of this one, or Ray's workers, each watched."""
