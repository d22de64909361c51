-- What models say of each pair: one row per pair whose image came, null where nobody measured it. The columns of the
-- config's own image models, heads and image filters come last, by their names.
SELECT lower(hex(p.pair_id)) AS pair_id, p.url, p.text, t.language, t.language_probability, t.profanity_probability,
       n.nsfw_probability, s.clip_score, f.face_bboxes, f.face_scores, c.cell, c.cell_cosine,
       m.* EXCLUDE (partition, row), h.* EXCLUDE (partition, row), o.* EXCLUDE (partition, row)
FROM _pairs p
JOIN _images i ON i.partition = p.partition AND i.url = p.url AND i.outcome = 'ok'
LEFT JOIN _texts t ON t.partition = p.candidate_partition AND t.row = p.candidate_row
LEFT JOIN _nsfw n ON n.partition = i.partition AND n.row = i.row
LEFT JOIN _clip_scores s ON s.partition = p.partition AND s.row = p.row
LEFT JOIN _faces f ON f.partition = i.partition AND f.row = i.row
LEFT JOIN _cells c ON c.partition = i.partition AND c.row = i.row
LEFT JOIN _image_models m ON m.partition = i.partition AND m.row = i.row
LEFT JOIN _image_heads h ON h.partition = i.partition AND h.row = i.row
LEFT JOIN _image_custom o ON o.partition = p.partition AND o.row = p.row
