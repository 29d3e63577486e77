"""The Lambda container image: what ships is `app/`, the chosen variant and the locked requirements."""
