-- decontaminate: pairs whose image looks like one of an evaluation set, or is a copy of one by the model's word.
-- rows: row, url. images: row, url. config: max_hamming, min_cosine.
-- found: row (of images), name (of the nearest evaluation image by PDQ) and pdq_hamming, cosine_name and cosine (the
-- nearest by the model); null where there is none.
SELECT
    rows.row,
    'in_evaluation_set' AS reason,
    -- A merge leaves out what is null: what did not speak against the image.
    json_merge_patch(
        '{}',
        CASE WHEN found.pdq_hamming <= config.max_hamming
            THEN json_object(
                'evaluation_image', found.name, 'pdq_hamming', found.pdq_hamming, 'max_hamming', config.max_hamming
            )
            ELSE json_object('evaluation_image', found.cosine_name)
        END,
        CASE WHEN found.cosine >= config.min_cosine
            THEN json_object(
                'nearest_by_model', found.cosine_name, 'cosine', found.cosine, 'min_cosine', config.min_cosine
            )
            ELSE '{}'
        END
    )::VARCHAR AS evidence
FROM rows
JOIN images ON images.url = rows.url
JOIN found ON found.row = images.row
CROSS JOIN config
WHERE found.pdq_hamming <= config.max_hamming OR found.cosine >= config.min_cosine
ORDER BY rows.row
