"""What a person reads about a dataset: status, explanations, report, datasheet, audits."""
