-- What other caps would change, by the counts before the first balance: full queries, and matches with room; `wit balance OUT --caps` counts pairs.
-- A pair may match several queries, so that matches are more than pairs.
-- $cap = 20000: a cap to compare with the dataset's own and the usual ones
-- column cap: How many pairs fill a query.
-- column full_queries: Queries that have more pairs than that.
-- column matches_with_room: Matches of pairs and queries that the cap has room for.
-- column percent_of_matches: Their share of all matches, in percent.
SELECT cap, count(*) FILTER (WHERE candidate_count > cap) AS full_queries,
       sum(least(candidate_count, cap))::BIGINT AS matches_with_room,
       round(100.0 * sum(least(candidate_count, cap)) / sum(candidate_count), 2) AS percent_of_matches
FROM queries, (SELECT DISTINCT unnest([10, 100, 1000, 5000, 20000, 100000, $cap, own]) AS cap
    FROM (SELECT TRY_CAST(max(value) AS BIGINT) AS own FROM settings WHERE key = 'balance.cap'))
WHERE candidate_count > 0 AND cap IS NOT NULL
GROUP BY cap ORDER BY cap
