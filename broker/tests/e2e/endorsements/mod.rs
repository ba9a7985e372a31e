//! Endorsements from services that behave as users have reported.

mod broker;
mod cache;
mod misbehaviour;
mod stand;
mod traffic;
mod vendor;
