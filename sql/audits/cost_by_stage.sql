-- What each stage took, of all runs that left a log: seconds, tasks and rows; empty where no log is at hand.
-- column stage: The stage.
-- column phases_run: Phases that were run, each time counted.
-- column seconds: Seconds by the clock.
-- column share: Their share of all.
-- column tasks: Tasks that were done.
-- column longest_phase: The phase that took longest.
-- column its_seconds: Seconds of that phase.
SELECT _stages.stage, count(*) AS phases_run, round(sum(seconds), 1) AS seconds, round(sum(seconds) / sum(sum(seconds)) OVER (), 4) AS share,
       sum(partitions)::BIGINT AS tasks, arg_max(phase, seconds) AS longest_phase, round(max(seconds), 1) AS its_seconds
FROM _timings JOIN _stages ON _stages.stage = split_part(phase, '.', 1)
GROUP BY _stages.step, _stages.stage ORDER BY _stages.step
