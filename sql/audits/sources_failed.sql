-- Source files that could not be read to their end, or lost records: which, why, and how much of them.
SELECT file, type, records, candidates, damaged_records, lost_bytes, error
FROM sources
WHERE error IS NOT NULL OR damaged_records > 0 OR lost_bytes > 0
ORDER BY file
