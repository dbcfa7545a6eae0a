//! compute_api
