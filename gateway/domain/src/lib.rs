//! What makes a gateway's domain one that anybody can verify: whose keys are certified for it.
//!
//! Pure: no socket, no file, no clock. It faces certification authorities, resolvers, providers of
//! domain name service and logs of certificates, each of which may lie.

#![forbid(unsafe_code)]
