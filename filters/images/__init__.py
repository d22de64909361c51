"""What is measured on images: perceptual hashes, embeddings, models, faces, lists of hashes."""
