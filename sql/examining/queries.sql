-- Queries by their names in lower case, with their pairs before the first balance and in the dataset.
-- $names: the names
SELECT lower(query) AS name, max(candidate_count) AS candidate_count, max(kept_count) AS kept_count FROM queries
WHERE lower(query) IN (SELECT unnest($names)) GROUP BY name
