"""What is read: orders for pilots, views for people, and who an id means."""
