-- prebalance and balance: pairs that none of their queries needs.
-- measures: for pairs all of whose queries are full, the query that comes nearest to keeping the pair: row, hash, query_id,
-- count, cap, cutoff. Its cutoff is the largest, so beyond it the pair is beyond the others' as well.
SELECT
    row,
    'query_full' AS reason,
    json_object(
        'query_id', query_id,
        'count', count,
        'cap', cap,
        -- Hashes are uniform: the share of 2^64 below this one is about the share of the query's pairs before it.
        'estimated_rank', greatest(cap + 1, least(count, round(count * (hash / 18446744073709551616))::BIGINT))
    )::VARCHAR AS evidence
FROM measures
WHERE hash > cutoff
ORDER BY row
