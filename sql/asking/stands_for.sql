-- The images that were dropped for one: the addresses of pairs whose evidence names it.
-- $1: the image's url_id, 16 hexadecimal digits
SELECT DISTINCT p.url FROM _neardup_verdicts v JOIN _pairs p USING (partition, row)
WHERE contains(v.evidence, $1) ORDER BY p.url
