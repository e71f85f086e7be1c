"""Who is logged in where, and with what token; nothing here sends anything."""
