//! The edge on loopback, with rustls's client and with bytes by hand.

mod clients;
mod rig;

mod hellos;
mod limits;
mod relays;
mod routes;
mod tunnelled;
