//! broker_api
