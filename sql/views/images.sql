-- What fetching each image came to, and what was measured on it; one row per image URL.
SELECT url, origin, outcome, status, final_url, fetched_bytes, lower(hex(sha256)) AS sha256, media_type,
       original_width, original_height, width, height, lower(hex(pdq)) AS pdq, pdq_quality, nsfw_probability,
       data_mining, other_constraints, creator, credit, copyright_notice, rights_url,
       wish_signal, wish_value, wish_place, blob, blob_offset, blob_length, blob_checksum, lower(hex(url_id)) AS url_id, partition, row
FROM _images LEFT JOIN _nsfw USING (partition, row)
