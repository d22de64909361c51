"""image: what is measured on images, by rules and by models."""
