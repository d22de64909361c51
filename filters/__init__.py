"""What is measured on texts and images: language, queries, hashes, duplicates, balance."""
