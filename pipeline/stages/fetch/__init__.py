"""fetch: image bytes, from archives, over HTTP, or from what img2dataset has downloaded."""
