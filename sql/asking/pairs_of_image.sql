-- The pairs of an image, by their ids.
-- $first, $last: the least and the greatest pair_id that the image's url_id begins, 32 hexadecimal digits
SELECT partition, row, pair_id, url, text FROM _pairs WHERE pair_id BETWEEN unhex($first) AND unhex($last)
ORDER BY pair_id
