"""Query lists: built, matched against texts, and balanced."""
