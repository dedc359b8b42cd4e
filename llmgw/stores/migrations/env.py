"""Alembic's environment: runs the scripts inside the transaction that `stores/migrate.py` began."""

from __future__ import annotations

from alembic import context

from llmgw.stores.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
context.run_migrations()
