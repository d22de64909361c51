"""Shards: WebDataset tars, ours and anyone's, and the index that reads them at random."""
