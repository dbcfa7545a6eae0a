//! pageserver_api
