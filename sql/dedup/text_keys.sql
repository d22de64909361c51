-- Which text stands on which image address, each combination once: what `spam.sql` counts.
-- rows: url, text.
SELECT DISTINCT unhex(md5(text)) AS text_key, unhex(md5(url)) AS url_key
FROM rows
ORDER BY text_key, url_key
