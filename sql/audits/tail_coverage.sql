-- How even the dataset is over its queries: the share of all matches that the most frequent queries hold, before and after.
-- column most_frequent_queries: How many of the most frequent queries.
-- column matched_queries: How many queries were matched at all.
-- column percent_of_matches_before: Their share of all matches before the first balance, in percent.
-- column percent_of_matches_after: Their share of all matches of the dataset, in percent.
WITH ranked AS (
    SELECT candidate_count, kept_count,
           row_number() OVER (ORDER BY candidate_count DESC, query_id) AS rank_before,
           row_number() OVER (ORDER BY kept_count DESC, query_id) AS rank_after,
           sum(candidate_count) OVER () AS total_before, sum(kept_count) OVER () AS total_after
    FROM queries WHERE candidate_count > 0
)
SELECT top AS most_frequent_queries, (SELECT count(*) FROM ranked) AS matched_queries,
       round(100.0 * sum(candidate_count) FILTER (WHERE rank_before <= top) / any_value(total_before), 2)
           AS percent_of_matches_before,
       round(100.0 * sum(kept_count) FILTER (WHERE rank_after <= top) / nullif(any_value(total_after), 0), 2)
           AS percent_of_matches_after
FROM ranked, (SELECT unnest([1, 10, 100, 1000, 10000, 100000]) AS top)
GROUP BY top
HAVING top < 10 * matched_queries  -- the last row is all of them
ORDER BY top
