"""Images that were got: decoded, resized and kept in the fetch store."""
