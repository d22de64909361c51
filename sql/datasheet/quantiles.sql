-- The 5 %, 50 % and 95 % quantiles of the texts' characters and of the images' shorter side: one row.
SELECT quantile_disc(length(text), [0.05, 0.5, 0.95]) AS characters,
       quantile_disc(least(width, height), [0.05, 0.5, 0.95]) AS side
FROM pairs
