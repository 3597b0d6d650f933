//! What a store says of a refresh token that is brought in and is there already.

use nightlatch_domain::{import::Import, ports::store::Brought};

/// What is said of it, where one with the same token is there: [`Brought::New`] where that one gives way.
pub(crate) fn told(known: &Import, import: &Import) -> Brought {
    if known.tenant != import.tenant {
        return Brought::Elsewhere;
    }
    if known.gives_way_to(import.client) { Brought::New } else { Brought::Known(known.id) }
}
