-- Candidates whose text holds a concept, with what became of each.
-- $concept = photo: whole words that the text holds, in any case; of scripts without capitals any part
-- $most = 20: how many
-- column text: The caption or alt text: cleaned, personal data masked.
-- column url: The image's canonical address.
-- column outcome: What became of it: kept, or the stage and reason that dropped it.
WITH found AS (
    SELECT pair_id, text, url, archive, "offset", ordinal FROM candidates
    WHERE contains(lower(text), lower($concept))
    AND regexp_matches(text, '(?i)(^|[^\p{Ll}\p{Lu}\p{Nd}])' || regexp_escape($concept) || '($|[^\p{Ll}\p{Lu}\p{Nd}])')
    ORDER BY pair_id, archive, "offset", ordinal LIMIT $most
), gone AS (
    -- (of few archives, by which whole files are passed over)
    SELECT archive, "offset", ordinal, stage, reason FROM dropped WHERE archive IN (SELECT archive FROM found)
), kept AS (
    SELECT DISTINCT pair_id FROM pairs WHERE url IN (SELECT url FROM found)
)
SELECT f.text, f.url, CASE WHEN k.pair_id IS NOT NULL THEN 'kept' ELSE g.stage || ': ' || g.reason END AS outcome
FROM found f
LEFT JOIN gone g USING (archive, "offset", ordinal)
LEFT JOIN kept k ON k.pair_id = f.pair_id AND g.reason IS NULL
ORDER BY f.pair_id, archive, "offset", ordinal
