"""`wit experiment`: is my data better? Datasets at one compute budget and several seeds, compared."""
