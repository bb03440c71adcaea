"""The mail screens of the dashboard, over a real relay."""
