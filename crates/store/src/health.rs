//! How a connection is, of the rows that say it.

use nightlatch_domain::{
    chain::Chain,
    connection::{Connection, ConnectionHealth, Source},
    ports::store::StoreError,
    ticket::Ticket,
};
use std::collections::HashMap;

/// One line a connection. The tickets come oldest first.
pub(crate) fn of(
    connections: Vec<Connection>,
    chains: Vec<Chain>,
    tickets: Vec<Ticket>,
) -> Result<Vec<ConnectionHealth>, StoreError> {
    let chains: HashMap<_, _> = chains.into_iter().map(|chain| (chain.id, chain)).collect();
    let tickets: HashMap<_, _> =
        tickets.into_iter().rev().map(|ticket| (ticket.connection, ticket)).collect();
    connections
        .into_iter()
        .map(|connection| {
            let ticket = tickets.get(&connection.id);
            match connection.source {
                Source::Static => Ok(ConnectionHealth::of_static(connection, ticket)),
                Source::Chain { chain } => {
                    let chain = chains.get(&chain).ok_or(StoreError::Corrupt("connection"))?;
                    Ok(ConnectionHealth::of_chain(connection, chain, ticket))
                }
            }
        })
        .collect()
}
