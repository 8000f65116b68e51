//! Placeholder.
mod group;
pub use group::{Group, GroupError, Scope};
