-- Examples of each reason for dropping, chosen by hash, with their evidence.
-- $reason = all: one of the view reasons
-- $most = 3: how many of each
-- column stage: The stage.
-- column reason: The reason.
-- column text: The caption or alt text: cleaned, personal data masked.
-- column url: The image's canonical address.
-- column evidence: What the reason rests on, as a JSON object: a score, the duplicate, the query that was full.
WITH ids AS (
    -- As many of each as are shown; one that is among the least rows is among the least ids. Texts are read of these alone.
    SELECT stage, reason, unnest(min(pair_id, $most)) AS pair_id FROM (
        SELECT stage, reason, pair_id FROM _candidates_verdicts JOIN _candidates USING (partition, row)
        UNION ALL
        SELECT stage, reason, pair_id FROM _pairs_verdicts JOIN _pairs USING (partition, row)
    ) WHERE $reason IN ('all', reason) GROUP BY stage, reason
), least AS (
    SELECT DISTINCT * FROM ids
), shown AS (
    SELECT stage, reason, text, url, evidence, pair_id, archive, "offset", ordinal
    FROM _candidates JOIN _candidates_verdicts USING (partition, row) WHERE pair_id IN (SELECT pair_id FROM least)
    UNION ALL
    SELECT stage, reason, text, url, evidence, pair_id, archive, "offset", ordinal
    FROM _pairs JOIN _pairs_verdicts USING (partition, row) WHERE pair_id IN (SELECT pair_id FROM least)
)
SELECT stage, reason, text, url, evidence
FROM shown JOIN least USING (stage, reason, pair_id)
QUALIFY row_number() OVER (PARTITION BY stage, reason ORDER BY pair_id, archive, "offset", ordinal) <= $most
ORDER BY stage, reason, pair_id, archive, "offset", ordinal
