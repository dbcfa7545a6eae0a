//! safekeeper_api
