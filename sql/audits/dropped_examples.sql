-- Three examples of each reason for dropping, chosen by hash, with their evidence.
SELECT stage, reason, text, url, evidence
FROM dropped
QUALIFY row_number() OVER (PARTITION BY stage, reason ORDER BY md5(pair_id), archive, "offset", ordinal) <= 3
ORDER BY stage, reason, md5(pair_id), archive, "offset", ordinal
