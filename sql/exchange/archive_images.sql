-- One response per image URL: the first in the order of the archives, as everywhere.
-- Tables: images (url, host, final_url, media_type, archive, offset, archive_checksum), in the order of the archives.
SELECT url, host, final_url, media_type, archive, "offset", archive_checksum
FROM (SELECT *, row_number() OVER () AS n FROM images)
QUALIFY row_number() OVER (PARTITION BY url ORDER BY n) = 1
ORDER BY url
