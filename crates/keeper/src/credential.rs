//! Whether what is stored of a credential is what this keeper stored: checked before it is opened.
//!
//! A row that was edited does not open. A row that was *moved* (another connection's, an older generation)
//! opens with its own context; these checks hold that context against what was asked for.

use crate::{
    core::Core,
    keeping::LogSays,
    refresh::{log_says, material::belongs},
};
use nightlatch_domain::{
    connection::{Connection, StaticSecret},
    ports::store::{ChainView, StoreError},
    sealed::SecretKind,
};

/// What is wrong with a static secret, in a word of ours.
pub(crate) fn static_fault(core: &Core, connection: &Connection, row: &StaticSecret) -> Option<&'static str> {
    let context = &row.secret.1;
    let own = context.kind == SecretKind::Static
        && context.tenant == connection.tenant
        && context.connection == Some(connection.id)
        && context.chain.is_none()
        && context.generation == row.generation;
    if !own {
        return Some("secret-unverified");
    }
    if context.hosts != connection.hosts {
        return Some("hosts-unverified");
    }
    // I2: an older secret that was put back is not the connection's.
    let older =
        core.anchor.static_generation(connection.id).is_some_and(|anchored| row.generation < anchored);
    older.then_some("generation-unverified")
}

/// What is wrong with a chain's access token, in a word of ours.
pub(crate) async fn token_fault(
    core: &Core,
    connection: &Connection,
    view: &ChainView,
) -> Result<Option<&'static str>, StoreError> {
    let context = &view.head.access.1;
    // A generation that the log does not have as the head was put back, or never was one.
    if log_says(core, view).await? != LogSays::Fits {
        return Ok(Some("generation-unverified"));
    }
    let own = view.chain.tenant == connection.tenant && context.connection == Some(connection.id);
    if !own || !belongs(context, view, SecretKind::Access) {
        return Ok(Some("token-unverified"));
    }
    // The seal decides where it goes; a row that says otherwise was edited, and nothing is given for it.
    Ok((context.hosts != connection.hosts).then_some("hosts-unverified"))
}
