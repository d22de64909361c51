"""For those who come from open_clip_train: its flags in our words, its params.txt as a config, its checkpoints."""
