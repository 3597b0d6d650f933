//! What a store says of a refresh token that is brought in and is there already.

use nightlatch_domain::{
    chain::{FlowOutcome, FlowStep},
    id::ClientId,
    import::Import,
    ports::store::Brought,
};

/// What is said of it, where one with the same token is there: [`Brought::New`] where that one gives way.
pub(crate) fn told(known: &Import, import: &Import) -> Brought {
    if known.tenant != import.tenant {
        return Brought::Elsewhere;
    }
    if gives_way(known, import.client) { Brought::New } else { Brought::Known(known.id) }
}

/// It failed before it was presented; or, under another registration, it waits or was refused and nothing came of it.
fn gives_way(known: &Import, client: ClientId) -> bool {
    let is_open = known.progress.step == FlowStep::Begun;
    let came_to_nothing = matches!(known.outcome, Some(FlowOutcome::Failed { .. })) && known.answer.is_none();
    let is_untouched = came_to_nothing && known.progress.presented_at.is_none();
    is_untouched || (known.client != client && (is_open || came_to_nothing))
}
