-- Pairs by the shorter side of their image, in steps of so many pixels.
-- $step: the pixels of a step
SELECT least(width, height) // $step * $step AS start, count(*) AS pairs FROM pairs GROUP BY start ORDER BY start
