-- Source files that could not be read to their end, and why: one row a file.
SELECT file, error FROM sources WHERE error IS NOT NULL ORDER BY file
