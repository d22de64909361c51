-- The query list with how many candidate pairs matched each query, and how many samples hold it.
-- Tables: queries, candidates (query_id, count), kept (query_id, count).
SELECT q.query_id, q.query, q.source, q.source_score, q.language,
       coalesce(c."count", 0) AS candidate_count, coalesce(k."count", 0) AS kept_count
FROM queries q LEFT JOIN candidates c USING (query_id) LEFT JOIN kept k USING (query_id)
ORDER BY q.query_id
