"""Spans of requests, attempts and questions, exported by OTLP over HTTP.

Imported only where traces are exported: everything here needs the SDK of OpenTelemetry.
"""
