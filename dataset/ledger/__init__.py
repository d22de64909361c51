"""What makes files part of a dataset: commit records, the lease of whoever writes them, and damage found in them."""
