"""What this project replaces: a central registry of Flask and Redis, with POST /register and GET /discover/<name>."""

import logging
import os

import redis
from flask import Flask, Response, jsonify, request
from werkzeug.serving import WSGIRequestHandler

app = Flask(__name__)
store = redis.Redis(host="127.0.0.1", port=int(os.environ["REDIS_PORT"]), decode_responses=True)


@app.post("/register")
def register() -> Response:
    """Keep where a service is."""
    told = request.get_json()
    store.set(f"service:{told['name']}", f"{told['address']}:{told['port']}")
    return jsonify(ok=True)


@app.get("/discover/<name>")
def discover(name: str) -> tuple[Response, int]:
    """Say where a service is."""
    found = store.get(f"service:{name}")
    if found is None:
        return jsonify(error="not found"), 404
    address, _, port = str(found).rpartition(":")
    return jsonify(name=name, address=address, port=int(port)), 200


if __name__ == "__main__":
    WSGIRequestHandler.protocol_version = "HTTP/1.1"  # connections are kept, to its advantage
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app.run("127.0.0.1", int(os.environ["PORT"]), threaded=True)
