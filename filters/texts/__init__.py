"""What is measured on texts and their addresses: language, blocklists, profanity, domains."""
