-- What went into each stage, and what it kept and dropped: one row a stage, in their order.
SELECT stage, input, kept, dropped FROM funnel
