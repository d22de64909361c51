-- The distinct entries of all lists of domains and addresses, with their hash, in the order in which they are looked up.
-- Tables: entries (entry, source).
SELECT DISTINCT md5_number_lower(entry) AS hash, entry, source
FROM entries
WHERE entry <> ''
ORDER BY hash, entry, source
