"""How rows go from every partition to every other: buckets of keys, and their files made fewer."""
