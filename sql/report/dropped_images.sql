-- Some pairs that were dropped for each reason of some stages, with where their stored images lie.
-- An image that has crashed a worker, or exceeded its budget, is not decoded here.
-- $stages: the stages' names; $most: how many of a reason
SELECT d.stage, d.reason, d.text, d.url, d.evidence, i.blob, i.blob_offset, i.blob_length, i.blob_checksum
FROM dropped d JOIN images i ON i.url = d.url
JOIN _stages s ON s.stage = d.stage
WHERE s.stage IN (SELECT unnest($stages)) AND i.outcome = 'ok' AND i.blob IS NOT NULL
      AND d.reason NOT IN ('quarantined', 'processing_time_exceeded', 'processing_memory_exceeded')
QUALIFY row_number() OVER (PARTITION BY d.stage, d.reason ORDER BY md5(d.pair_id), d.pair_id) <= $most
ORDER BY s.step, d.reason, md5(d.pair_id), d.pair_id
