"""Auth transport, offline queue and replay for kitty."""
