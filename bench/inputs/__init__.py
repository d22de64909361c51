"""What benches are given: pictures, pages, datasets and the servers that serve them."""
