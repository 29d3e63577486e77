"""Every error a caller can get: RFC 9457 problem objects with a documented code and no text of the diary."""

MAX_CHARACTERS = 10_000

PROBLEMS = {
    "event_not_an_object": (400, "The event is not a JSON object."),
    "text_missing": (400, 'The event has no "text".'),
    "text_not_a_string": (400, '"text" is not a string.'),
    "text_empty": (400, '"text" is empty or blank.'),
    "text_too_long": (413, f'"text" is longer than {MAX_CHARACTERS} characters.'),
    "text_undecodable": (400, '"text" holds half of a surrogate pair and is no valid Unicode.'),
    "internal": (500, "The entry could not be analysed. Try again; the log has the request id."),
}


def problem(code):
    """The problem object of a documented `code`."""
    status, title = PROBLEMS[code]
    return {"type": f"urn:ai-diary:problem:{code}", "title": title, "status": status, "code": code}


def find_problem(event):
    """The code of what is wrong with `event`, or None."""
    if not isinstance(event, dict):
        return "event_not_an_object"
    if "text" not in event:
        return "text_missing"
    text = event["text"]
    if not isinstance(text, str):
        return "text_not_a_string"
    if not text.strip():
        return "text_empty"
    if len(text) > MAX_CHARACTERS:
        return "text_too_long"
    return "text_undecodable" if _has_lone_surrogate(text) else None


def _has_lone_surrogate(text):
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
