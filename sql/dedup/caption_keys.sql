-- One key for captions that differ only in case and white space.
-- rows: row, text (in Unicode normal form KC).
SELECT unhex(md5(lower(trim(regexp_replace(text, '\s+', ' ', 'g'))))) AS key
FROM rows
ORDER BY row
