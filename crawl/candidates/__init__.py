"""From archives and tables to candidates: a row for every image that has a text and an address."""
