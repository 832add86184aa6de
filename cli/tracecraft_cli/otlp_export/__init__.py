"""A run as spans of OpenTelemetry (GenAI conventions and OpenInference), in a file or sent to an OTLP endpoint."""
