"""Which budget alerts were told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "alerts_told",
        sa.Column("balance", sa.Text, primary_key=True),
        sa.Column("threshold_ppm", sa.BigInteger, primary_key=True),
        sa.Column("at_s", sa.BigInteger, nullable=False),
    )
    op.create_index("alerts_told_at", "alerts_told", ["at_s"])
