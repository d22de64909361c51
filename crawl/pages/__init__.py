"""HTML pages: their text encoding, their images, and the texts that stand with them."""
