"""The stages of the path, a module or a folder each; `pipeline.build` has their order."""
