"""The eight diary emotions, in the one order that every score, answer and record uses."""

EMOTIONS = ("joy", "calm", "sadness", "anger", "anxiety", "embarrassment", "weariness", "neutral")
