//! pg_format
