-- Concepts that are missing: queries that candidates matched and no pair of the dataset has, with what dropped most of theirs.
-- $most = 50: how many queries
-- column query: The query.
-- column source: Where the list has the query from.
-- column candidate_count: Distinct pairs whose text contains it, before the first balance.
-- column reason: The reason that dropped most of the rows that match it.
-- column dropped: How many rows that reason dropped.
-- column example: One of their texts.
WITH lost AS (
    SELECT query_id, query, source, candidate_count FROM queries
    WHERE candidate_count > 0 AND coalesce(kept_count, 0) = 0
    ORDER BY candidate_count DESC, query_id LIMIT $most
), found AS (
    SELECT DISTINCT query_id, pair_id FROM matches WHERE query_id IN (SELECT query_id FROM lost)
), counted AS (
    SELECT query_id, reason, count(*) AS dropped, min(text) AS example
    FROM found JOIN dropped USING (pair_id) GROUP BY query_id, reason
)
SELECT any_value(query) AS query, any_value(source) AS source, any_value(candidate_count) AS candidate_count,
       arg_max(reason, (dropped, reason)) AS reason, max(dropped) AS dropped, arg_max(example, (dropped, reason)) AS example
FROM lost LEFT JOIN counted USING (query_id)
GROUP BY query_id ORDER BY candidate_count DESC, query_id
