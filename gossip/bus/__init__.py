"""The only code that knows ZeroMQ, threads and real time."""
