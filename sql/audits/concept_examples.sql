-- Candidates whose text holds a concept, with what became of each.
-- $concept = photo: whole words that the text holds, in any case; of scripts without capitals any part
-- $most = 20: how many
-- column text: The caption or alt text: cleaned, personal data masked.
-- column url: The image's canonical address.
-- column outcome: What became of it: kept, or the stage and reason that dropped it.
SELECT c.text, c.url, CASE WHEN p.pair_id IS NOT NULL THEN 'kept' ELSE d.stage || ': ' || d.reason END AS outcome
FROM candidates c
LEFT JOIN dropped d USING (archive, "offset", ordinal)
LEFT JOIN (SELECT DISTINCT pair_id FROM pairs) p ON p.pair_id = c.pair_id AND d.reason IS NULL
WHERE contains(lower(c.text), lower($concept))
    AND regexp_matches(c.text, '(?i)(^|[^\p{Ll}\p{Lu}\p{Nd}])' || regexp_escape($concept) || '($|[^\p{Ll}\p{Lu}\p{Nd}])')
ORDER BY c.pair_id, c.archive, c."offset", c.ordinal LIMIT $most
