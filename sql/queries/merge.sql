-- Counts of several files as one: a row a query.
-- Tables: counts (query, score).
SELECT query, sum(score) AS score FROM counts GROUP BY query ORDER BY query
