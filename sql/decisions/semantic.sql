-- neardup, after what looks alike: pairs whose image shows what another one shows, by its embedding.
-- rows: row, url. images: row, url. config: min_cosine.
-- semantic: row (of images), representative_url_id (of the image that stays), cosine (of the two embeddings).
SELECT
    rows.row,
    'semantic_duplicate' AS reason,
    json_object(
        'duplicate_of_url_id', lower(hex(semantic.representative_url_id)),
        'cosine', semantic.cosine,
        'min_cosine', config.min_cosine
    )::VARCHAR AS evidence
FROM rows
JOIN images ON images.url = rows.url
JOIN semantic ON semantic.row = images.row
CROSS JOIN config
ORDER BY rows.row
