-- Counts of queries that differ in capitals alone, as those of the commonest spelling; rare ones are left out.
-- Tables: counts (query, score), config (min_count).
SELECT first(query ORDER BY score DESC, query) AS query, sum(score) AS score
FROM counts, config GROUP BY lower(query), min_count HAVING sum(score) >= min_count ORDER BY query
