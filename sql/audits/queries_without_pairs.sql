-- Queries that the dataset has no pair of, by source: never matched, or matched and lost to a filter.
SELECT source, count(*) AS queries,
       count(*) FILTER (WHERE coalesce(kept_count, 0) = 0) AS without_pairs,
       count(*) FILTER (WHERE coalesce(candidate_count, 0) = 0) AS never_matched,
       count(*) FILTER (WHERE candidate_count > 0 AND kept_count = 0) AS lost_to_filters
FROM queries
GROUP BY source
ORDER BY source
