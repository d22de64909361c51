"""The engine, which knows no stage: phases and their tasks, the plan of partitions, a run, what is done about failures."""
