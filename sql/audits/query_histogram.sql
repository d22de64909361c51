-- How many queries have how many pairs, before the first balance and in the dataset, in steps of powers of two.
-- column pairs_from: Pairs of a query, from.
-- column pairs_to: Pairs of a query, to.
-- column queries_before: Queries with so many before the first balance.
-- column queries_after: Queries with so many in the dataset.
-- column matches_before: Their pairs before the first balance, added up.
-- column matches_after: Their pairs in the dataset, added up.
WITH counted AS (
    SELECT unnest([{'side': 'before', 'n': coalesce(candidate_count, 0)}, {'side': 'after', 'n': coalesce(kept_count, 0)}]) AS item FROM queries
), binned AS (
    SELECT item.side AS side, item.n AS n, CASE WHEN item.n = 0 THEN 0 ELSE (2 ** floor(log2(item.n)))::BIGINT END AS least_pairs FROM counted
)
SELECT least_pairs AS pairs_from, CASE WHEN least_pairs = 0 THEN 0 ELSE 2 * least_pairs - 1 END AS pairs_to,
       count(*) FILTER (WHERE side = 'before') AS queries_before, count(*) FILTER (WHERE side = 'after') AS queries_after,
       coalesce(sum(n) FILTER (WHERE side = 'before'), 0)::BIGINT AS matches_before,
       coalesce(sum(n) FILTER (WHERE side = 'after'), 0)::BIGINT AS matches_after
FROM binned GROUP BY least_pairs ORDER BY least_pairs
