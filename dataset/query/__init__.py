"""How a dataset is asked: its views over what is committed, and the repo's SQL files run by DuckDB."""
