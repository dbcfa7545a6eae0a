//! pg_frontend
