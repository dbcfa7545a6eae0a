//! `varve console`: what its pages show and what their forms do, over HTTP as a browser without scripts; who is refused; and
//! how it looks, in a browser (`make test-console`).

mod browser;
mod forms;
mod looks;
mod refusals;
mod served;
