-- One row per occurrence of an image with a text in an archive.
SELECT lower(hex(pair_id)) AS pair_id, * EXCLUDE (pair_id)
FROM _candidates
