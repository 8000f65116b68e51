//! Which interface a connection comes to.

use mcl_net::{Interface, choose};

use crate::connection::{Connection, interface_from_env};
use crate::error::OpenError;

/// The connection's interface, else the environment's, else the system's choice.
pub(crate) fn pick(connection: &Connection) -> Result<Interface, OpenError> {
    let named = connection.interface().cloned();
    let choice = named.or_else(interface_from_env).unwrap_or_default();
    Ok(choose(&choice, &connection.group())?)
}
