"""A trace as text: a timeline, and in sentences what decided the failure."""
