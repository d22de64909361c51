"""What a run says of itself while it goes on: its log lines, its speed and what limits it."""
