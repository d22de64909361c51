-- The captions of pairs.
-- $ids: pair_ids, 32 hexadecimal digits
SELECT pair_id, text FROM pairs WHERE pair_id IN (SELECT unnest($ids))
