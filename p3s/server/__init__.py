"""The server: a Flask app over SQLAlchemy with a JSON API, a web monitor, matching and a sweeper."""
