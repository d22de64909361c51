-- What fetching each image came to, and what was measured on it; one row per image URL.
-- The measures are grouped, though there is one of each image, so that DuckDB leaves them unread where nobody asks for them.
SELECT url, host, origin, outcome, status, final_url, fetched_bytes,
       lower(hex(sha256)) AS sha256, media_type,
       original_width, original_height, width, height, lower(hex(pdq)) AS pdq, pdq_quality, nsfw_probability,
       data_mining, other_constraints, creator, credit, copyright_notice, rights_url,
       wish_signal, wish_value, wish_place, blob, blob_offset, blob_length, blob_checksum, lower(hex(url_id)) AS url_id, partition, row
FROM _images LEFT JOIN (
    SELECT partition, row, any_value(nsfw_probability) AS nsfw_probability FROM _nsfw GROUP BY partition, row
) USING (partition, row)
