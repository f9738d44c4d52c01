"""The pages in real headless Chromium, against the real app on a real port."""
