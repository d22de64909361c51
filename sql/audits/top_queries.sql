-- The hundred queries with the most candidate pairs, before the first balance, and what the dataset kept of each.
-- column query: The query.
-- column source: Where the list has the query from.
-- column candidate_count: Distinct pairs whose text contains it, before the first balance.
-- column kept_count: Pairs of the dataset whose text contains it.
-- column percent_of_matches_before: Their share of all matches before the first balance, in percent.
-- column percent_of_matches_after: Their share of all matches of the dataset, in percent.
SELECT query, source, candidate_count, kept_count,
       round(100.0 * candidate_count / sum(candidate_count) OVER (), 2) AS percent_of_matches_before,
       round(100.0 * kept_count / nullif(sum(kept_count) OVER (), 0), 2) AS percent_of_matches_after
FROM queries
WHERE candidate_count > 0
ORDER BY candidate_count DESC, query_id
LIMIT 100
