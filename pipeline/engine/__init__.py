"""The engine, which knows no stage: phases, tasks, the plan of partitions, a run, what is done about failures."""
