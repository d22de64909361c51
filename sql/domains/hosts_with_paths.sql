-- The hosts of entries that are addresses below a host, by their hash.
-- Tables: entries (entry).
SELECT DISTINCT md5_number_lower(split_part(entry, '/', 1)) AS hash
FROM entries
ORDER BY hash
