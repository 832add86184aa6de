-- Whose trace it is that a span belongs to.
CREATE INDEX run_trace_idx ON run (trace);
