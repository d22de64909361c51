-- The images at the addresses that wanted urls have led to.
-- Tables: asked (url, host, at, final_url), images (url, media_type, archive, offset, archive_checksum), one a url.
SELECT asked.url, asked.host, asked.final_url, media_type, archive, "offset", archive_checksum
FROM asked JOIN images ON asked."at" = images.url
ORDER BY asked.url
