"""The model: its two towers, where its config and first weights come from, and what of it learns."""
