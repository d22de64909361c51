"""When the loss does not fall, or is no number: the batch that was looked at."""
