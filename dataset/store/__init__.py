"""How files are reached: a folder, a bucket or the web behind one `Storage`, patient with errors of the environment."""
