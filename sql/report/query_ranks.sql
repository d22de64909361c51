-- Queries that matched anything: their pairs before the first balance and in the dataset.
SELECT coalesce(candidate_count, 0) AS before, coalesce(kept_count, 0) AS after FROM queries
WHERE candidate_count > 0 OR kept_count > 0
