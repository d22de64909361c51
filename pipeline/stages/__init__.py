"""The stages of the path, one module each, in the order in which `pipeline.build` runs them."""
