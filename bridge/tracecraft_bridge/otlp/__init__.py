"""The receiver of OpenTelemetry: what OTLP/HTTP exporters send becomes events of runs on the bus."""
