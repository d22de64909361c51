-- decontaminate: pairs whose image looks like one of an evaluation set.
-- rows: row, url. images: row, url. found: row (of images), name (of the evaluation image), pdq_hamming.
-- config: max_hamming.
SELECT
    rows.row,
    'in_evaluation_set' AS reason,
    json_object(
        'evaluation_image', found.name,
        'pdq_hamming', found.pdq_hamming,
        'max_hamming', config.max_hamming
    )::VARCHAR AS evidence
FROM rows
JOIN images ON images.url = rows.url
JOIN found ON found.row = images.row
CROSS JOIN config
WHERE found.pdq_hamming <= config.max_hamming
ORDER BY rows.row
