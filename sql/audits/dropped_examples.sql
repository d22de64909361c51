-- Examples of each reason for dropping, chosen by hash, with their evidence.
-- $reason = all: one of the view reasons
-- $most = 3: how many of each
-- column stage: The stage.
-- column reason: The reason.
-- column text: The caption or alt text: cleaned, personal data masked.
-- column url: The image's canonical address.
-- column evidence: What the reason rests on, as a JSON object: a score, the duplicate, the query that was full.
WITH chosen AS (
    -- So many rows of each, by keys alone: texts and evidence are read of these.
    SELECT stage, reason, unnest(min({'pair_id': pair_id, 'archive': archive, 'offset': "offset", 'ordinal': ordinal}, $most), recursive := true)
    FROM dropped WHERE $reason IN ('all', reason) GROUP BY stage, reason
)
SELECT stage, reason, text, url, evidence
FROM dropped JOIN chosen USING (stage, reason, pair_id, archive, "offset", ordinal)
ORDER BY stage, reason, pair_id, archive, "offset", ordinal
