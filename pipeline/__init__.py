"""What runs, in what order, on what: config, the stage graph, the plan of partitions, the Ray runner, the command."""
