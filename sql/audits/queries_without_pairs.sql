-- Queries that the dataset has no pair of, by source: never matched, or matched and lost to a filter.
-- column source: Where the list has the query from.
-- column queries: How many queries the source gave.
-- column without_pairs: Queries that no pair of the dataset matches.
-- column never_matched: Queries that no candidate matched.
-- column lost_to_filters: Queries whose pairs were all dropped.
SELECT source, count(*) AS queries,
       count(*) FILTER (WHERE coalesce(kept_count, 0) = 0) AS without_pairs,
       count(*) FILTER (WHERE coalesce(candidate_count, 0) = 0) AS never_matched,
       count(*) FILTER (WHERE candidate_count > 0 AND kept_count = 0) AS lost_to_filters
FROM queries
GROUP BY source
ORDER BY source
