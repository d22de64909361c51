"""`wit human`: people take the zero-, one- and two-shot test of the paper (§4), and are compared with a model."""
