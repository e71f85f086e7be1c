"""The tables of the hub. Times are seconds since 1970; secrets are kept as SHA-256 only."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

teams = Table(
    "teams",
    metadata,
    Column("id", Text, primary_key=True),
    Column("slug", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    # The number of the team's last event, counted in the transaction that adds it: no number is seen before a smaller one.
    Column("last_seq", BigInteger, nullable=False, default=0),
)

users = Table(
    "users",
    metadata,
    Column("id", Text, primary_key=True),
    Column("email", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
)

members = Table(
    "members",
    metadata,
    Column("user_id", ForeignKey("users.id"), primary_key=True),
    Column("team_id", ForeignKey("teams.id"), primary_key=True),
    Column("role", Text, CheckConstraint("role IN ('owner', 'writer', 'reader')"), nullable=False),
)

grants = Table(
    "grants",
    metadata,
    Column("device_digest", Text, primary_key=True),
    Column("user_digest", Text, nullable=False, unique=True),
    Column("kind", Text, CheckConstraint("kind IN ('program', 'browser')"), nullable=False),
    # What is shown to who decides: where it was asked for, and when.
    Column("address", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("state", Text, CheckConstraint("state IN ('pending', 'approved', 'denied')"), nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("interval", Integer, nullable=False),
    Column("polled_at", Float),
    Column("user_id", ForeignKey("users.id")),
    Column("team_id", ForeignKey("teams.id")),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("team_id", ForeignKey("teams.id"), nullable=False),
    Column("created_at", Float, nullable=False),
    # When it last got tokens.
    Column("used_at", Float, nullable=False),
    Column("revoked_at", Float),
)

tokens = Table(
    "tokens",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("session_id", ForeignKey("sessions.id"), nullable=False, index=True),
    Column("kind", Text, CheckConstraint("kind IN ('access', 'refresh')"), nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("replaced_at", Float),
)

events = Table(
    "events",
    metadata,
    Column("team_id", ForeignKey("teams.id"), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("project", Text, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("mission_id", Text, nullable=False),
    Column("mission_slug", Text, nullable=False),
    Column("received_at", Text, nullable=False),
    # The record as it came, as canonical JSON.
    Column("record", Text, nullable=False),
    UniqueConstraint("team_id", "project", "event_id"),
    Index("events_by_project", "team_id", "project", "seq"),
)

# Sessions of browsers. Those of programs are `sessions`: a cookie is no token, and no token is a cookie.
visits = Table(
    "visits",
    metadata,
    Column("id", Text, primary_key=True),
    Column("digest", Text, nullable=False, unique=True),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("team_id", ForeignKey("teams.id"), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("used_at", Float, nullable=False),
    Column("revoked_at", Float),
    # Where from.
    Column("address", Text, nullable=False),
)

# Links that sign somebody in, once.
links = Table(
    "links",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("team_id", ForeignKey("teams.id"), nullable=False),
    Column("expires_at", Float, nullable=False),
)

# What was done to accounts, roles, tokens and sessions. Rows are added only, and refer to nothing that could go.
audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("action", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("whom", Text, nullable=False),
    Column("team_id", Text, index=True),
    Column("what", Text, nullable=False),
    Column("address", Text, nullable=False),
)

# What a hub that serves tells commands on the same database: what it calls itself.
settings = Table(
    "settings",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

# What lets a websocket in, once.
passes = Table(
    "passes",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("session_id", ForeignKey("sessions.id"), nullable=False),
    Column("expires_at", Float, nullable=False),
)

# Events of the released client that no model takes.
set_aside = Table(
    "set_aside",
    metadata,
    Column("team_id", ForeignKey("teams.id"), primary_key=True),
    Column("project", Text, primary_key=True),
    Column("event_id", Text, primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("event_type", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("received_at", Float, nullable=False),
    Column("record", Text, nullable=False),
)

# Bodies of artefacts, as the released client sends them.
artifacts = Table(
    "artifacts",
    metadata,
    Column("team_id", ForeignKey("teams.id"), primary_key=True),
    # SHA-256 of the four that follow the hash: together they can be longer than what an index takes.
    Column("place", Text, primary_key=True),
    Column("hash", Text, primary_key=True),
    Column("project", Text, nullable=False),
    Column("mission_slug", Text, nullable=False),
    Column("target_branch", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("mission_type", Text, nullable=False),
    Column("manifest_version", Text, nullable=False),
    Column("received_at", Float, nullable=False),
    # As a string of JSON: a PostgreSQL does not take every text as it is.
    Column("content", Text, nullable=False),
)
