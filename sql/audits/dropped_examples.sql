-- Three examples of each reason for dropping, chosen by hash, with their evidence.
-- column stage: The stage.
-- column reason: The reason.
-- column text: The caption or alt text: cleaned, personal data masked.
-- column url: The image's canonical address.
-- column evidence: What the reason rests on, as a JSON object: a score, the duplicate, the query that was full.
SELECT stage, reason, text, url, evidence
FROM dropped
QUALIFY row_number() OVER (PARTITION BY stage, reason ORDER BY md5(pair_id), archive, "offset", ordinal) <= 3
ORDER BY stage, reason, md5(pair_id), archive, "offset", ordinal
