"""Answers: statistics, what they say in words, figures, reports, text for a terminal."""
