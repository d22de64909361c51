-- Pairs that a single query holds in the dataset, by that query: what would be lost if it were taken off the list.
-- column query: The query.
-- column source: Where the list has the query from.
-- column pairs: How many pairs of the dataset.
-- column percent_of_pairs: Their share of all pairs, in percent.
SELECT q.query, q.source, count(*) AS pairs,
       round(100.0 * count(*) / (SELECT count(*) FROM pairs), 2) AS percent_of_pairs
FROM pairs p JOIN queries q ON q.query_id = p.query_ids[1]
WHERE len(p.query_ids) = 1
GROUP BY q.query_id, q.query, q.source
ORDER BY pairs DESC, q.query_id
LIMIT 100
