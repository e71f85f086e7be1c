"""What alembic runs: the revisions, in the transaction that is there."""

from alembic import context

from kitty_sync.hub.schema import metadata

# SQLite changes a table by copying it, which alembic does for whoever writes `op.batch_alter_table`.
context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
context.run_migrations()
