-- How many rows each stage got, kept and dropped, in the order of the stages.
SELECT stage, input, kept, dropped FROM _funnel ORDER BY step
