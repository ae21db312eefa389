//! Larder: a cache server that every memcached client can use unchanged.
//!
//! A request, in reading order:
//! [`server`] accepts a connection and deals it to a worker, where [`connection`] reads its bytes and
//! hands them to [`connection::burst`], which has `larder_protocol` parse them, lets [`command`] carry
//! each out on the [`store`], and gives the replies back to be written once.
//!
//! Around it: [`config`] (flags and file), [`process`] (what a daemon does to itself), [`systemd`] (what
//! a service manager says and hears), [`replies`] (what is to be sent), [`instance`] (what threads share), [`stats`],
//! [`prefixes`], [`clients`], [`address`] and [`watch`] (what operators see), [`crawler`] (who looks for dead items),
//! [`log`], [`panics`], [`clock`].
//!
//! Dependencies point one way: main, config and server, connection, protocol and command, store.
//! The store and the protocol know neither sockets nor clocks nor each other.

// What tests share with the fuzz targets names the crate as these do.
#[cfg(test)]
extern crate self as larder;

pub mod address;
pub mod clients;
pub mod clock;
pub mod command;
pub mod config;
pub mod connection;
pub mod crawler;
pub mod instance;
pub mod log;
pub mod panics;
pub mod prefixes;
pub mod process;
pub mod replies;
mod sentence;
pub mod server;
pub mod stats;
pub mod store;
pub mod systemd;
pub mod watch;

#[cfg(test)]
#[path = "../tests/fuzz/src/lib.rs"]
mod rule;
