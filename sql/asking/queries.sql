-- Queries by their ids, in the order that is asked for, with their pairs before the first balance and in the dataset.
-- $ids: query_ids
SELECT query, candidate_count, kept_count FROM queries
WHERE query_id IN (SELECT unnest($ids)) ORDER BY list_position($ids, query_id)
