"""Several processes that train one model: how they start, talk, share and watch each other."""
