-- Images of the dataset by their ids: of each the first of its pairs, as a struct, and how many pairs it has.
-- $ids: image ids, the 16 hexadecimal digits that a pair_id begins with
SELECT substr(pair_id, 1, 16) AS image_id, arg_min(p, p.pair_id) AS first, count(*) AS pairs
FROM pairs AS p WHERE substr(pair_id, 1, 16) IN (SELECT unnest($ids)) GROUP BY image_id
