//! pg_backend
