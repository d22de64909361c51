"""What a run begins with: the sources of its config, their partitions, and datasets that exist already."""
