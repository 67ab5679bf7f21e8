"""What happens to tasks, from their create to their end."""
