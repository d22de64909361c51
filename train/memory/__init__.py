"""What a training step needs of a GPU's memory: forecast without one, and kept small."""
