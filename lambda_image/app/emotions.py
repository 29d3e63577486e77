"""The eight diary emotions in the order of every score, with their Korean names."""

EMOTIONS = {
    "joy": "기쁨",
    "calm": "평온",
    "sadness": "슬픔",
    "anger": "분노",
    "anxiety": "불안",
    "embarrassment": "당황",
    "weariness": "지침",
    "neutral": "중립",
}
