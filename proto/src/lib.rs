//! Code generated from the `.proto` files beside this crate, and nothing else.
#![allow(clippy::all, rust_2018_idioms, unused_qualifications, reason = "generated code")]

pub mod broker {
    tonic::include_proto!("varve.broker.v1");
}
