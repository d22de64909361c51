"""From archives and the web to candidates, and from URLs to image bytes."""
