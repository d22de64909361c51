"""What ours is measured beside: each peer as a script for a Python with its packages, and how both are measured."""
