-- The hundred queries with the most candidate pairs, before the first balance, and what the dataset kept of each.
SELECT query, source, candidate_count, kept_count,
       round(100.0 * candidate_count / sum(candidate_count) OVER (), 2) AS percent_of_matches_before,
       round(100.0 * kept_count / nullif(sum(kept_count) OVER (), 0), 2) AS percent_of_matches_after
FROM queries
WHERE candidate_count > 0
ORDER BY candidate_count DESC, query_id
LIMIT 100
