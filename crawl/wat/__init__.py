"""Common Crawl's WAT files: the images of pages, as JSON describes them."""
