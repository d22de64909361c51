-- How many rows each stage dropped, by reason, with what the reason means and its share of the stage's input.
-- column stage: The stage.
-- column reason: The reason.
-- column dropped: How many rows were dropped.
-- column percent_of_input: Their share of what the stage got, in percent.
-- column meaning: What the reason means.
SELECT d.stage, d.reason, count(*) AS dropped, round(100.0 * count(*) / any_value(f.input), 2) AS percent_of_input,
       coalesce(any_value(r.meaning), 'a filter of this dataset''s own') AS meaning
FROM (SELECT stage, reason FROM _candidates_verdicts UNION ALL SELECT stage, reason FROM _pairs_verdicts) d
LEFT JOIN funnel f USING (stage)
LEFT JOIN _stages s USING (stage)
LEFT JOIN reasons r USING (reason)
GROUP BY d.stage, d.reason
ORDER BY min(s.step), dropped DESC, d.reason
