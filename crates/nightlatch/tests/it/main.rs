//! The program as its users meet it: real servers, real clients, a browser that follows pages.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test that cannot go on says so and ends; it lives in real time and has an environment"
)]

mod apart;
mod budgets;
mod calls;
mod cli;
mod companion;
mod config;
mod crash;
mod cut;
mod demo;
mod doctor;
mod early;
mod faults;
mod first_call;
mod forged;
mod graphql;
mod hostile;
mod imported;
mod importing;
mod keepers;
mod killed;
mod logs;
mod oauth;
mod proxy;
mod put_back;
mod references;
mod refresh;
mod replicas;
mod restored;
mod revoked;
mod run;
mod serving;
mod standby;
mod streams;
mod traced;
mod unchanged;
mod users;
mod walls;
mod watching;
mod webhooks;
mod websockets;
mod world;
